/**
 * Waits for something that goes on without us, for a limited time.
 * @throws what `onTimeout` returns, or the signal's reason
 */
export async function waitFor<Result>(
  promise: Promise<Result>,
  seconds: number,
  signal: AbortSignal | undefined,
  onTimeout: () => Error,
): Promise<Result> {
  signal?.throwIfAborted();
  const { promise: given, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(onTimeout()), seconds * 1000);
  const onAbort = () => reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, given]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
