import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startExecutorProcess } from '../../tools/process/programs.ts';
import type { BenchInstance } from './bench-site.ts';

export interface BenchExecutor extends AsyncDisposable {
  pid: number;
}

/** `bin/executor run` for the queue `jobs`. */
export async function startBenchExecutor(options: {
  instance: BenchInstance;
  /** For the Docker runtime; without it, microVMs. */
  dockerSocket?: string;
  /** Its data directory, where a guest and images may be already; by default an empty one. */
  dataDirectory?: string;
  /** Settings of the executor, such as where it reaches the instance when not at its own address. */
  env?: NodeJS.ProcessEnv;
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
      dataDirectory: options.dataDirectory ?? path.join(directory, 'data'),
      ...(options.dockerSocket === undefined ? {} : { dockerSocket: options.dockerSocket }),
      logFile: path.join(directory, 'executor.log'),
      env: { SRC_LOG_LEVEL: 'warn', TMPDIR: temporary, ...options.env },
      signal: options.signal,
    }),
  );
  const started = cleanup.move();
  return { pid: executor.pid, [Symbol.asyncDispose]: () => started.disposeAsync() };
}
