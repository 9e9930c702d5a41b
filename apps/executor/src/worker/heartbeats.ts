import { setTimeout as sleep } from 'node:timers/promises';
import type { Isolation } from '@kiln/protocol';
import { type InstanceClient, isInstanceError, type Versions } from '../client/index.ts';
import type { Logger } from '../process-log/index.ts';
import type { RunningJobs } from './running-jobs.ts';

export interface HeartbeatOptions {
  client: InstanceClient;
  jobs: RunningJobs;
  slots: number;
  isolation: Isolation;
  versions: Versions;
  /** The latest metrics that are at hand; never waited for. */
  metrics(): Promise<string>;
  /** What the instance says about taking more jobs, with each answer. */
  onDrain(drain: boolean): void;
  /** After each answer. */
  onAnswer(): Promise<void>;
  log: Logger;
}

export interface Heartbeats {
  /** Resolves at the first answer: from then on the instance can say of a claim how this executor isolates jobs. */
  introduced: Promise<void>;
  /** There is a new job: the instance should hear of it before the current call ends. */
  jobStarted(): void;
  /** Sends a last one that says why the executor ended. */
  end(because: string): Promise<void>;
}

/** The protocol's interval. The lease is 25 s, so four in a row may fail. */
const intervalMilliseconds = 5000;
const afterFailureMilliseconds = 2000;
const tellEveryFailures = 30;
/** Held calls that are answered at once (a cancel that is being obeyed) must not become a busy loop. */
const leastIntervalMilliseconds = 1000;
const startMilliseconds = 150;
const lastWordSeconds = 5;

/** Heartbeats in a task of their own: nothing that a job or the loop does can hold them up. */
export function startHeartbeats(options: HeartbeatOptions): Heartbeats {
  const { client, jobs, log } = options;
  const ended = new AbortController();
  let interruption = new AbortController();
  const introduced = Promise.withResolvers<void>();
  let isIntroduced = false;
  let failures = 0;
  let interruptTimer: NodeJS.Timeout | undefined;

  async function report(mayWait: boolean, endedBecause?: string) {
    const held = jobs.held();
    const verdict = await client.heartbeat(
      {
        held,
        versions: options.versions,
        prometheusMetrics: await options.metrics(),
        slots: options.slots,
        isolation: options.isolation,
        mayWait,
        ...(endedBecause === undefined ? {} : { endedBecause }),
      },
      endedBecause === undefined
        ? AbortSignal.any([ended.signal, interruption.signal])
        : AbortSignal.timeout(lastWordSeconds * 1000),
    );
    for (const { job, kind } of jobs.obey(held, verdict))
      log.info({ job: job.id, queue: job.queue, kind }, 'the instance stops a job');
    return verdict;
  }

  async function beat(): Promise<number> {
    const startedAt = performance.now();
    try {
      // The first one is not held: see `introduced`.
      const verdict = await report(isIntroduced);
      isIntroduced = true;
      introduced.resolve();
      if (failures > 0) log.warn({ failed: failures }, 'heartbeats are answered again');
      failures = 0;
      options.onDrain(verdict.drain);
      await options.onAnswer();
      const least = client.offers('cancel-push') ? leastIntervalMilliseconds : intervalMilliseconds;
      return client.offers('cancel-push') ? Math.max(0, least - (performance.now() - startedAt)) : least;
    } catch (error) {
      if (ended.signal.aborted) return 0;
      if (interruption.signal.aborted) {
        interruption = new AbortController();
        return 0;
      }
      if (!isInstanceError(error)) throw error;
      // Said at once and then each minute: an instance that is away for long would fill the log.
      if (failures++ % tellEveryFailures === 0)
        log.warn({ cause: error.message }, 'heartbeats fail; running jobs go on');
      return afterFailureMilliseconds;
    }
  }

  async function loop(): Promise<void> {
    while (!ended.signal.aborted) {
      const pause = await beat();
      const wake = AbortSignal.any([ended.signal, interruption.signal]);
      await sleep(pause, undefined, { signal: wake }).catch((error: unknown) => {
        if (!wake.aborted) throw error;
      });
      if (interruption.signal.aborted) interruption = new AbortController();
    }
  }

  const looping = loop();
  // A fault here must end the process, not leave jobs running without heartbeats.
  looping.catch((error: unknown) => {
    log.fatal({ error }, 'the heartbeat task failed');
    throw error;
  });

  return {
    introduced: introduced.promise,
    jobStarted() {
      if (!client.offers('cancel-push')) return;
      interruptTimer ??= setTimeout(() => {
        interruptTimer = undefined;
        interruption.abort();
      }, startMilliseconds);
    },
    async end(because) {
      ended.abort();
      clearTimeout(interruptTimer);
      await looping;
      try {
        await report(false, because);
      } catch (error) {
        if (!isInstanceError(error) && !(error instanceof DOMException)) throw error;
        log.debug({ cause: error.message }, 'the last heartbeat failed');
      }
    },
  };
}
