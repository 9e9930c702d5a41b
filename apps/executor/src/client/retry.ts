import { setTimeout as sleep } from 'node:timers/promises';
import { isInstanceError } from './errors.ts';

export interface RetryLimits {
  /** Gives up this long after the first try. */
  forSeconds: number;
  /** Longest wait between two tries. */
  maxDelaySeconds: number;
}

/**
 * Repeats a call while the instance is unreachable, with growing random waits, so that many executors do not come
 * back in the same moment. Only for calls that may be made twice.
 * @throws the last error, or the signal's reason
 */
export async function withRetries<Result>(
  call: () => Promise<Result>,
  limits: RetryLimits,
  signal: AbortSignal,
): Promise<Result> {
  const giveUpAt = performance.now() + limits.forSeconds * 1000;
  for (let tries = 0; ; tries++) {
    try {
      return await call();
    } catch (error) {
      if (!isInstanceError(error) || error.kind !== 'unreachable' || performance.now() >= giveUpAt)
        throw error;
    }
    const longest = Math.min(limits.maxDelaySeconds * 1000, 50 * 2 ** Math.min(tries, 20));
    await sleep(longest * (0.5 + Math.random() / 2), undefined, { signal });
  }
}
