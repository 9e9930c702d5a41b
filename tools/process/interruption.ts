/** One Ctrl-C may arrive twice: from the terminal, and passed on by npm. */
const sameMilliseconds = 1000;

/** Aborts at Ctrl-C and SIGTERM, so that a program can stop what it started. A later one ends it at once. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  let firstMs: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      firstMs ??= performance.now();
      if (performance.now() - firstMs > sameMilliseconds) process.exit(130);
      controller.abort(new Error('interrupted'));
    });
  }
  return controller.signal;
}
