import type { Logger } from 'pino';
import type { Database, Statement } from '../database/index.ts';
import type { Watchers } from './watchers.ts';

export interface Broadcast extends AsyncDisposable {
  /** Tells this process's watchers at once, and those of other instances soon. */
  changed(jobIds: readonly number[]): void;
  /** Takes a notification. */
  receive(payload: string): void;
}

/**
 * Nothing is lost with a notification that a crash swallows (see `safetyRefreshMilliseconds`), so it need not wait
 * for the disk.
 */
const statement: Statement = {
  name: 'job_broadcast',
  text: `select set_config('synchronous_commit', 'off', true), pg_notify('kiln_job', $1)`,
};
/** Notifications hold up to 8000 bytes, ids up to 16 digits. */
const maxIdsPerNotification = 400;
/** Changes within this time travel together. */
const gatherMilliseconds = 20;
/**
 * Under load, so many go together: every notification wakes a session and a process per instance, which with 8 of
 * them took as much processor time as their claims (measured).
 */
const restMilliseconds = 250;

/**
 * Changes by claims and marks. Their statements send no notification themselves: Postgres lets one session at a
 * time commit with one, disk write included, which would take the group commit away from everybody (measured: 8
 * clients claimed 180 jobs/s with it, no more than one).
 */
export function createBroadcast(
  database: Database,
  watchers: Watchers,
  origin: string,
  log: Logger,
): Broadcast {
  let pending: number[] = [];
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> = Promise.resolve();
  let restUntil = 0;
  return {
    changed(jobIds) {
      if (jobIds.length === 0) return;
      watchers.notify(jobIds);
      pending.push(...jobIds);
      timer ??= setTimeout(
        () => {
          timer = undefined;
          restUntil = performance.now() + restMilliseconds;
          sending = sending.then(send);
        },
        Math.max(gatherMilliseconds, restUntil - performance.now()),
      );
    },
    receive(payload) {
      const [ids = '', sender] = payload.split('@');
      if (sender !== origin) watchers.notify(ids.split(',').map(Number));
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      await sending;
      await send();
    },
  };

  async function send(): Promise<void> {
    while (pending.length > 0) {
      const ids = pending.splice(0, maxIdsPerNotification);
      try {
        await database.query(statement, [`${ids.join(',')}@${origin}`]);
      } catch (error) {
        log.debug(
          { err: error },
          'other instances could not be told of changed jobs; they look again by themselves',
        );
        pending = [];
      }
    }
  }
}
