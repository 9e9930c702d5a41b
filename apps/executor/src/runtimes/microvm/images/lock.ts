import { spawn } from 'node:child_process';
import { ImageError } from './image-error.ts';

/** Held until it is disposed, or this process ends, however it ends. */
export interface Lock extends AsyncDisposable {}

/**
 * Takes a lock that holds among all processes of the machine. The kernel has it, for a helper that ends with its input:
 * nothing is left to be cleaned up or believed after a crash.
 * @param path of the lock's file, made when it is missing
 * @param options `wait: false`: undefined when somebody has it; `onWait` is told when it takes a while
 * @throws the signal's reason
 */
export async function takeLock(
  path: string,
  options: { wait: boolean; onWait?: () => void; signal: AbortSignal },
): Promise<Lock | undefined> {
  const { signal } = options;
  signal.throwIfAborted();
  const child = spawn(
    'flock',
    [...(options.wait ? [] : ['--nonblock']), path, 'sh', '-c', 'echo locked; exec cat >/dev/null'],
    { stdio: ['pipe', 'pipe', 'ignore'], cwd: '/', env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' } },
  );
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  // The helper may end before it is told to.
  child.stdin.on('error', () => undefined);
  const answered = new Promise<'locked' | 'taken' | 'failed'>((resolve) => {
    child.stdout.once('data', () => resolve('locked'));
    child.once('close', (code) => resolve(code === 1 && !options.wait ? 'taken' : 'failed'));
    child.once('error', () => resolve('failed'));
  });
  const kill = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', kill, { once: true });
  const waiting = setTimeout(() => options.onWait?.(), noticeMilliseconds);
  try {
    const answer = await answered;
    signal.throwIfAborted();
    if (answer === 'failed')
      throw new ImageError(
        `the lock ${path} cannot be taken: "flock" of the package util-linux is missing, or the directory cannot be written`,
        { infrastructure: true },
      );
    if (answer === 'taken') return undefined;
  } catch (error) {
    kill();
    await closed;
    throw error;
  } finally {
    clearTimeout(waiting);
    signal.removeEventListener('abort', kill);
  }
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await closed;
    },
  };
}

const noticeMilliseconds = 2000;
