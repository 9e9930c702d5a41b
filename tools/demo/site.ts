import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ensureDockerd, ensureImages } from '../docker/index.ts';
import {
  checkout,
  type InstanceProcess,
  startExecutorProcess,
  startInstanceProcess,
} from '../process/programs.ts';
import type { RunningProcess } from '../process/running-process.ts';

/** What the demo runs: a Docker daemon (the machine's own where one answers), an instance and an executor. */
export interface DemoSite extends AsyncDisposable {
  instance: InstanceProcess;
  executor: RunningProcess;
  /** Process numbers of what was started here, in the order in which they are stopped. */
  pids: number[];
}

/** A daemon's socket lies below it, and the path of a socket is at most 107 characters long. */
const maxDirectoryLength = 70;

/** Everything the demo keeps, so that a second run starts where the first one ended. */
export function demoDirectory(): string {
  const own = path.join(checkout, '.kiln', 'demo');
  return own.length <= maxDirectoryLength
    ? own
    : path.join(tmpdir(), `kiln-demo-${process.getuid?.() ?? 'user'}`);
}

export async function startSite(
  directory: string,
  options: { say(line: string): void; signal: AbortSignal; outlives: boolean },
): Promise<DemoSite> {
  const { say, signal, outlives } = options;
  await mkdir(directory, { recursive: true, mode: 0o711 });
  await using stack = new AsyncDisposableStack();
  const docker = stack.use(
    await ensureDockerd({
      stateDirectory: path.join(directory, 'docker'),
      log: say,
      dockerHost: process.env['DOCKER_HOST'],
      outlives,
    }),
  );
  signal.throwIfAborted();
  const images = ensureImages(docker.socketPath, say);
  const starting = startInstanceProcess({
    dataDirectory: path.join(directory, 'instance'),
    logFile: path.join(directory, 'instance.log'),
    signal,
    outlives,
  });
  // Both are waited for, so that what one has begun is there to be stopped when the other fails.
  const [instanceStart, imagesMade] = await Promise.allSettled([starting, images]);
  if (instanceStart.status === 'rejected') throw instanceStart.reason;
  const instance = stack.use(instanceStart.value);
  if (imagesMade.status === 'rejected') throw imagesMade.reason;
  say(`an instance runs at ${instance.url} (log: ${show(instance.process.logFile)})`);
  signal.throwIfAborted();
  const executor = stack.use(
    await startExecutorProcess({
      instance,
      dataDirectory: path.join(directory, 'executor'),
      dockerSocket: docker.socketPath,
      logFile: path.join(directory, 'executor.log'),
      signal,
      outlives,
    }),
  );
  say(`an executor serves it (log: ${show(executor.logFile)})`);
  // An executor lets running jobs finish at the first signal and gives them back at the second: nobody who interrupts
  // the demo wants to wait for its job. Two different ones, because two of a kind may arrive as one.
  const hurry = (): void => executor.signal('SIGINT');
  signal.addEventListener('abort', hurry, { once: true });
  const owned = stack.move();
  return {
    instance,
    executor,
    pids: [executor.pid, instance.process.pid, docker.pid].filter((pid) => pid !== undefined),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Relative to the working directory where that is shorter. */
export function show(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative !== '' && relative.length < file.length ? relative : file;
}
