import type { Logger } from 'pino';
import type { Database, Statement } from '../database/index.ts';

/** Tells all instances that there may be jobs to claim. */
export interface WakeUpCalls extends AsyncDisposable {
  /** Wakes this process at once, and other instances within milliseconds. */
  call(): void;
  /** Takes a notification. */
  receive(payload: string): void;
}

/** Waiting dequeues look again by themselves (`safetyClaimMilliseconds`), so it need not wait for the disk. */
const statement: Statement = {
  name: 'queue_wake_up',
  text: `select set_config('synchronous_commit', 'off', true), pg_notify('kiln_queue', $1)`,
};
/** Between two notifications; under load one tells of many jobs. */
const restMilliseconds = 20;

/** As with `createBroadcast`: the statement that enqueues sends no notification, which would cost its group commit. */
export function createWakeUpCalls(
  database: Database,
  wake: () => void,
  origin: string,
  log: Logger,
): WakeUpCalls {
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> = Promise.resolve();
  let restUntil = 0;
  return {
    call() {
      wake();
      timer ??= setTimeout(
        () => {
          timer = undefined;
          restUntil = performance.now() + restMilliseconds;
          sending = sending.then(send);
        },
        Math.max(0, restUntil - performance.now()),
      );
    },
    receive(payload) {
      if (payload !== origin) wake();
    },
    async [Symbol.asyncDispose]() {
      const pending = timer !== undefined;
      clearTimeout(timer);
      await sending;
      if (pending) await send();
    },
  };

  async function send(): Promise<void> {
    try {
      await database.query(statement, [origin]);
    } catch (error) {
      log.debug(
        { err: error },
        'other instances could not be told of waiting jobs; they look again by themselves',
      );
    }
  }
}
