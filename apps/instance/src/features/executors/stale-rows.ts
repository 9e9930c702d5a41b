import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';

const intervalMs = 30 * 60_000;
/** Names are new at each start of an executor, so every restart leaves a row. */
const unseenHours = 168;
/** Who said goodbye is of interest for a shorter time. */
const endedHours = 24;

/** Deletes rows of executors that are gone, twice an hour. */
export function startStaleRowCleanup(database: Database, log: Logger): AsyncDisposable {
  let working: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    working = deleteStaleRows(database).catch((err: unknown) => {
      log.warn({ err }, 'could not delete executors that are gone; trying again in half an hour');
    });
  }, intervalMs);
  timer.unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await working;
    },
  };
}

export async function deleteStaleRows(database: Database): Promise<void> {
  await database.query(
    `delete from executors where last_seen_at <= now() - make_interval(hours => $1)
      or (ended_because is not null and last_seen_at <= now() - make_interval(hours => $2))`,
    [unseenHours, endedHours],
  );
}
