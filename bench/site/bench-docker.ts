import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { demoImages, ensureImages, startDockerd } from '../../tools/docker/index.ts';
import { programEnvironment } from '../../tools/process/programs.ts';
import { runCommand } from '../../tools/process/run-command.ts';

/** A Docker daemon of the bench's own, with one small image. Needs root. */
export interface BenchDocker extends AsyncDisposable {
  socketPath: string;
  image: string;
  /** Runs the `docker` command against it. @throws when it fails */
  docker(args: readonly string[]): Promise<string>;
}

export async function startBenchDocker(signal: AbortSignal): Promise<BenchDocker> {
  // Short: a socket's path holds 108 bytes.
  const directory = await mkdtemp(path.join(tmpdir(), 'kb-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const log = (line: string): void => console.error(line);
  const daemon = cleanup.use(await startDockerd({ stateDirectory: path.join(directory, 'd'), log }));
  signal.throwIfAborted();
  await ensureImages(daemon.socketPath, log);
  signal.throwIfAborted();
  const env = programEnvironment({ DOCKER_HOST: `unix://${daemon.socketPath}` });
  const started = cleanup.move();
  return {
    socketPath: daemon.socketPath,
    image: demoImages.busybox,
    async docker(args) {
      const { code, output } = await runCommand('docker', args, { cwd: directory, env, signal });
      if (code !== 0) throw new Error(`docker ${args.join(' ')} ended with ${code}: ${output.trim()}`);
      return output.trim();
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
