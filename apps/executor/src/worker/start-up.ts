import { setTimeout as sleep } from 'node:timers/promises';
import { type InstanceClient, isInstanceError } from '../client/index.ts';
import type { Logger } from '../process-log/index.ts';

const pingMilliseconds = 1000;
/** An instance that starts together with its executors takes a moment: nobody needs to be told. */
const quietSeconds = 60;
const repeatSeconds = 60;

/**
 * Pings the instance once a second until it answers 200, which also tells what it offers.
 * @throws the signal's reason when it aborts
 */
export async function connect(client: InstanceClient, log: Logger, signal: AbortSignal): Promise<void> {
  const startedAt = performance.now();
  let toldAt = Number.NEGATIVE_INFINITY;
  let told = '';
  for (;;) {
    try {
      await client.ping(signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isInstanceError(error)) throw error;
      const seconds = (performance.now() - startedAt) / 1000;
      const quiet = error.kind === 'unreachable' && seconds < quietSeconds;
      if (!quiet && (error.kind !== told || seconds - toldAt >= repeatSeconds)) {
        log.error({ cause: error.message }, 'cannot begin to work for the instance; trying again');
        toldAt = seconds;
        told = error.kind;
      }
    }
    await sleep(pingMilliseconds, undefined, { signal });
  }
}
