import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { GuestBuildError } from './guest-build-error.ts';

/**
 * Held by one process of this machine at a time, and given back by the kernel however that process ends: the program
 * `flock` holds it for as long as we hold its standard input.
 */
export async function takeLock(
  file: string,
  waiting: () => void,
  signal: AbortSignal,
): Promise<AsyncDisposable> {
  const holder = spawn('flock', [file, '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise<string>((resolve) => {
    holder.once('error', (error) => resolve(error.message));
    holder.once('close', (code) => resolve(`exit code ${code}`));
  });
  // Whoever waits longer than a moment should know what for.
  const notice = setTimeout(waiting, 1000);
  const abort = () => holder.kill('SIGKILL');
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    const failed = await Promise.race([once(holder.stdout, 'data').then(() => undefined), ended]);
    signal.throwIfAborted();
    if (failed !== undefined)
      throw new GuestBuildError(`the lock ${file} cannot be taken (${failed}); the program flock is needed`);
  } finally {
    clearTimeout(notice);
    signal.removeEventListener('abort', abort);
  }
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await ended;
    },
  };
}
