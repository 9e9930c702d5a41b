import type { Group } from './grouping.ts';
import { isJobId } from './job-ids.ts';
import type { Queue } from './queue.ts';
import type { LifeSign, LifeSignResult } from './signs-of-life.ts';
import type { Watchers } from './watchers.ts';

export interface HeartbeatOptions {
  lifeSigns: Group<LifeSign, LifeSignResult>;
  watchers: Watchers;
  /** Aborts when the queue closes: held heartbeats are answered. */
  closing: AbortSignal;
}

/** See `Queue.heartbeat`. */
export function createHeartbeat({ lifeSigns, watchers, closing }: HeartbeatOptions): Queue['heartbeat'] {
  return async ({ executorName, jobs: named, waitSeconds, signal }) => {
    const jobs = named.filter(({ id }) => isJobId(id));
    const over = AbortSignal.any([signal, closing, AbortSignal.timeout(waitSeconds * 1000)]);
    const changes = createBell();
    using watches = new DisposableStack();
    // Before the first look: what happens after it must not be missed.
    if (waitSeconds > 0) for (const { id } of jobs) watches.use(watchers.watch(id, changes.ring));
    for (;;) {
      const answer = await beat();
      if (waitSeconds === 0 || answer.cancel.length > 0) return answer;
      // Changes that do not concern the executor (it marks its own jobs) do not end the wait.
      if (!(await changes.heard(over))) return answer;
    }

    async function beat(): Promise<{ known: number[]; cancel: number[] }> {
      const results = await Promise.all(
        jobs.map(({ id, queue, attempt }) => lifeSigns.add({ jobId: id, executorName, queue, attempt })),
      );
      const known: number[] = [];
      const cancel: number[] = [];
      for (const [index, { id }] of jobs.entries()) {
        const result = results[index];
        if (!result || 'refused' in result) continue;
        known.push(id);
        if (result.cancelRequested) cancel.push(id);
      }
      return { known, cancel };
    }
  };
}

/** Remembers a ring until somebody listens for it. */
function createBell(): { ring: () => void; heard(over: AbortSignal): Promise<boolean> } {
  let next = Promise.withResolvers<true>();
  return {
    ring: () => next.resolve(true),
    /** True at the next ring, or at once after one that nobody heard; false when it is over. */
    async heard(over) {
      const ended = Promise.withResolvers<false>();
      const end = () => ended.resolve(false);
      if (over.aborted) return false;
      over.addEventListener('abort', end, { once: true });
      try {
        const rang = await Promise.race([next.promise, ended.promise]);
        if (rang) next = Promise.withResolvers();
        return rang;
      } finally {
        over.removeEventListener('abort', end);
      }
    },
  };
}
