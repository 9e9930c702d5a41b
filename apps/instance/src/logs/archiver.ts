import type { Logger } from 'pino';
import { archiveLog, deleteForgottenBlobs, idleLogs, LogChanged, largeLogs } from './archive.ts';
import type { LogStore } from './read.ts';

/** Archives logs in the background, one at a time. */
export interface Archiver extends AsyncDisposable {
  /** The job has ended. */
  add(jobId: number): void;
}

const sweepIntervalMs = 60_000;
/** Between the end of a job and its archiving: followers read the rest of it from rows. */
const settleMs = 2000;
/** Beyond this, jobs are left to the sweep. */
const maxWaiting = 10_000;
const sweepBatch = 100;
/** Ended jobs that are looked at by one statement. */
const batchSize = 500;

export function startArchiver(store: LogStore, log: Logger): Archiver {
  const waiting = new Set<number>();
  const closing = new AbortController();
  let working: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;

  const sweeping = setInterval(() => {
    run(async () => {
      await deleteForgottenBlobs(store);
      for (const jobId of await idleLogs(store, sweepBatch)) waiting.add(jobId);
    });
  }, sweepIntervalMs);
  sweeping.unref();

  function run(first: () => Promise<void>): void {
    working ??= work(first).finally(() => {
      working = undefined;
    });
  }

  async function work(first: () => Promise<void>): Promise<void> {
    try {
      await first();
    } catch (err) {
      log.warn({ err }, 'could not look for logs to archive; trying again in a minute');
    }
    while (waiting.size > 0 && !closing.signal.aborted) {
      const batch = [...waiting].slice(0, batchSize);
      for (const jobId of batch) waiting.delete(jobId);
      try {
        for (const jobId of await largeLogs(store, batch)) {
          if (closing.signal.aborted) return;
          await archive(jobId);
        }
      } catch (err) {
        log.warn({ err }, 'could not look for logs to archive; they wait for the next sweep');
      }
    }
  }

  async function archive(jobId: number): Promise<void> {
    try {
      await archiveLog(store, jobId);
    } catch (err) {
      if (err instanceof LogChanged) log.info({ jobId }, 'a log changed while it was being archived');
      else log.warn({ err, jobId }, 'could not archive a log; it stays in the database until the next sweep');
    }
  }

  return {
    add(jobId) {
      if (waiting.size >= maxWaiting) return;
      waiting.add(jobId);
      timer ??= setTimeout(() => {
        timer = undefined;
        run(async () => undefined);
      }, settleMs);
      timer.unref();
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      clearTimeout(timer);
      clearInterval(sweeping);
      await working;
    },
  };
}
