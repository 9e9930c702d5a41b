import { JobStop } from './stop.ts';

/** Node's timers take at most this long. */
const longestTimerMilliseconds = 2 ** 31 - 1;

/**
 * A signal that aborts when the job's time is up, by the monotonic clock.
 * @param seconds 0: never
 */
export function startDeadline(seconds: number): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const milliseconds = Math.min(seconds * 1000, longestTimerMilliseconds);
  const timer =
    seconds === 0 ? undefined : setTimeout(() => controller.abort(new JobStop('timeout')), milliseconds);
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}
