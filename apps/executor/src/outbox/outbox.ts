import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { queueNameSchema, usageSchema } from '@kiln/protocol';
import { z } from 'zod';
import {
  type InstanceErrorKind,
  isInstanceError,
  type JobClient,
  type JobIdentity,
} from '../client/index.ts';
import { writeDurably } from '../durable-file.ts';
import type { Logger } from '../process-log/index.ts';

/** How a job ended, with all that is needed to tell the instance, also from another process. Holds the job token. */
const outcomeSchema = z.object({
  id: z.int(),
  queue: queueNameSchema,
  attempt: z.int().optional(),
  token: z.string(),
  executorName: z.string(),
  kind: z.enum(['markComplete', 'markErrored', 'markFailed']),
  errorMessage: z.string().optional(),
  usage: z.array(usageSchema),
});
export type JobOutcome = z.infer<typeof outcomeSchema>;

export interface PostedOutcome {
  /**
   * Tells the instance until it has taken it, or refused it for good. Never fails.
   * @returns whether the instance took it
   */
  deliver(): Promise<boolean>;
  /** The job is lost: the outcome is nobody's business any more. */
  withdraw(): Promise<void>;
}

/** Outcomes between the end of a job and the instance's answer, on disk so that they outlive this process. */
export interface Outbox {
  /**
   * Stores an outcome; when this resolves, the successor of an executor that is killed, or whose machine crashes, will
   * deliver it (unless the disk is full).
   */
  post(outcome: JobOutcome): Promise<PostedOutcome>;
  /** Delivers what a dead executor stored. Repeated calls for a file are one. */
  adopt(path: string): void;
  /** Resolves when nothing is on its way. */
  settled(): Promise<void>;
}

export interface OutboxOptions {
  directory: string;
  clientFor(job: JobIdentity): JobClient;
  /** Ends all waiting; what is undelivered stays on disk. */
  stop: AbortSignal;
  log: Logger;
}

const longestWaitSeconds = 5;
/** A refused token may be a proxy's or a configuration's fault of the moment, so it is not believed at once. */
const mostRefusals = 6;

export function createOutbox(options: OutboxOptions): Outbox {
  const { directory, clientFor, stop, log } = options;
  const underway = new Map<string, Promise<boolean>>();

  function deliver(path: string, outcome: JobOutcome): Promise<boolean> {
    const begun = underway.get(path);
    if (begun !== undefined) return begun;
    const delivery = tell(path, outcome).finally(() => underway.delete(path));
    underway.set(path, delivery);
    return delivery;
  }

  async function tell(path: string, outcome: JobOutcome): Promise<boolean> {
    const client = clientFor({ ...outcome, attempt: outcome.attempt });
    const { kind, errorMessage, usage } = outcome;
    const fields = { job: outcome.id, queue: outcome.queue, mark: kind };
    let refusals = 0;
    let answerLost = false;
    for (let tries = 0; ; tries++) {
      try {
        await client.mark(kind, { ...(errorMessage === undefined ? {} : { errorMessage }), usage }, stop);
        await rm(path, { force: true });
        return true;
      } catch (error) {
        if (stop.aborted) return false;
        if (!isInstanceError(error)) throw error;
        const ended = error.kind === 'gone' || error.kind === 'unauthorized';
        if (error.kind === 'unauthorized') refusals++;
        if ((ended && answerLost) || isFinal(error.kind, refusals)) {
          // After an answer that was lost, the repetition of a mark finds the job ended and its token dead.
          if (!answerLost)
            log.error({ ...fields, cause: error.message }, 'the instance does not take the outcome of a job');
          await rm(path, { force: true });
          return answerLost;
        }
        answerLost ||= error.kind === 'unreachable';
        if (tries === 3)
          log.warn({ ...fields, cause: error.message }, 'the outcome of a job waits for the instance');
      }
      const longest = Math.min(longestWaitSeconds * 1000, 100 * 2 ** Math.min(tries, 16));
      await sleep(longest * (0.5 + Math.random() / 2), undefined, { signal: stop }).catch(() => undefined);
    }
  }

  return {
    async post(outcome) {
      const path = join(directory, `${outcome.queue}-${outcome.id}-${outcome.attempt ?? 0}.json`);
      try {
        await writeDurably(path, JSON.stringify(outcome));
      } catch (error) {
        // A full disk must not cost the outcome: it is delivered from memory, and only a crash meanwhile would lose it.
        log.error({ error, job: outcome.id }, 'could not store the outcome of a job on disk');
      }
      return { deliver: () => deliver(path, outcome), withdraw: () => rm(path, { force: true }) };
    },
    adopt(path) {
      if (underway.has(path)) return;
      const delivery = adoptFile(path).catch((error: unknown) => {
        log.error({ error, path }, 'could not deliver the outcome that a dead executor left');
        return false;
      });
      underway.set(
        path,
        delivery.finally(() => underway.delete(path)),
      );
    },
    async settled() {
      while (underway.size > 0) await Promise.all(underway.values());
    },
  };

  async function adoptFile(path: string): Promise<boolean> {
    const parsed = outcomeSchema.safeParse(readJson(await readFile(path, 'utf8')));
    if (parsed.success && path.endsWith('.json')) return tell(path, parsed.data);
    // Cut off by a crash in the middle of writing: the job will run again.
    log.warn({ path }, 'dropping the unreadable outcome of a dead executor');
    await rm(path, { force: true });
    return false;
  }
}

function isFinal(kind: InstanceErrorKind, refusals: number): boolean {
  return kind === 'unauthorized' ? refusals >= mostRefusals : kind !== 'unreachable';
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
