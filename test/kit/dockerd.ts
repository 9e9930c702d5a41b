import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Dockerd, startDockerd } from '../../tools/docker/index.ts';
import { buildTestImages, type testImages } from './images.ts';

/**
 * A private Docker daemon with the test images, in a network namespace without a way out. One per test file; stop it with
 * `await using` or in `afterAll`.
 */
export async function startTestDockerd(images?: readonly (keyof typeof testImages)[]): Promise<Dockerd> {
  // Short: a socket's path holds 108 bytes.
  const directory = await mkdtemp(join(tmpdir(), 'kd-'));
  const lines: string[] = [];
  const daemon = await startDockerd({
    stateDirectory: join(directory, 'd'),
    log: (line) => lines.push(line),
  });
  const stop = async (): Promise<void> => {
    await daemon.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await buildTestImages(daemon.socketPath, images);
  } catch (error) {
    await stop();
    throw error;
  }
  return { ...daemon, stop, [Symbol.asyncDispose]: stop };
}
