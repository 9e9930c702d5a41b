import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startExecutorProcess } from '../../tools/process/programs.ts';
import type { BenchInstance } from './bench-site.ts';

export interface BenchExecutor extends AsyncDisposable {
  pid: number;
}

/** `bin/executor run` on the Docker runtime, for the queue `jobs`. */
export async function startBenchExecutor(options: {
  instance: BenchInstance;
  dockerSocket: string;
  /** Where the executor reaches the instance, when not at its own address. */
  frontendURL?: string;
  signal: AbortSignal;
}): Promise<BenchExecutor> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bench-executor-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const temporary = path.join(directory, 'tmp');
  await mkdir(temporary);
  const executor = cleanup.use(
    await startExecutorProcess({
      instance: options.instance,
      dataDirectory: path.join(directory, 'data'),
      dockerSocket: options.dockerSocket,
      logFile: path.join(directory, 'executor.log'),
      env: {
        EXECUTOR_FRONTEND_URL: options.frontendURL ?? options.instance.url,
        SRC_LOG_LEVEL: 'warn',
        TMPDIR: temporary,
      },
      signal: options.signal,
    }),
  );
  const started = cleanup.move();
  return { pid: executor.pid, [Symbol.asyncDispose]: () => started.disposeAsync() };
}
