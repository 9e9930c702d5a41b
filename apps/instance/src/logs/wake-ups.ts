import type { Logger } from 'pino';
import type { Database } from '../database/index.ts';

/** Tells followers, in every instance, that a job's log has grown. */
export interface LogWakeUps extends AsyncDisposable {
  /** After the commit of a write. */
  wrote(jobId: number): void;
  /** Calls back after writes of any instance, until disposed; also when one may have been missed. */
  watch(jobId: number, onWrite: () => void): Disposable;
}

const channel = 'kiln_log';
/** Writes within this time are announced together: notifications are one lock for all of Postgres. */
const announceAfterMs = 50;
/** A notification holds less than 8,000 bytes, and a job id at most 16 digits. */
const maxIdsPerNotification = 400;

export async function openLogWakeUps(database: Database, log: Logger): Promise<LogWakeUps> {
  const watchers = new Map<number, Set<() => void>>();
  const announced = new Set<number>();
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> = Promise.resolve();

  function wake(jobId: number): void {
    for (const onWrite of watchers.get(jobId) ?? []) onWrite();
  }

  async function announce(): Promise<void> {
    timer = undefined;
    while (announced.size > 0) {
      const ids = [...announced].slice(0, maxIdsPerNotification);
      for (const id of ids) announced.delete(id);
      try {
        await database.query({ name: 'log_notify', text: 'select pg_notify($1, $2)' }, [
          channel,
          ids.join(' '),
        ]);
      } catch (err) {
        // Followers elsewhere see these writes with the next one, or when the job ends.
        log.warn({ err }, 'could not announce log writes to other instances');
        return;
      }
    }
  }

  const listening = await database.listen(
    channel,
    (payload) => {
      for (const id of payload.split(' ')) wake(Number(id));
    },
    () => {
      for (const jobId of watchers.keys()) wake(jobId);
    },
  );

  return {
    wrote(jobId) {
      wake(jobId);
      announced.add(jobId);
      timer ??= setTimeout(() => {
        sending = sending.then(announce);
      }, announceAfterMs);
    },
    watch(jobId, onWrite) {
      const ofJob = watchers.get(jobId) ?? new Set();
      watchers.set(jobId, ofJob);
      ofJob.add(onWrite);
      return {
        [Symbol.dispose]() {
          ofJob.delete(onWrite);
          if (ofJob.size === 0 && watchers.get(jobId) === ofJob) watchers.delete(jobId);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      await sending;
      await announce();
      await listening[Symbol.asyncDispose]();
    },
  };
}
