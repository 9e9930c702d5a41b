import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildTestImages, testImages } from '../../../../../test/kit/images.ts';
import { askEngine, startDockerd } from '../../../../../tools/docker/index.ts';
import type { SandboxStep } from '../runtime.ts';
import { createDockerRuntime } from './index.ts';

test('a step whose daemon dies fails with that reason once it is surely dead, and nothing stays', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kd-'));
  const warnings: string[] = [];
  const stateDirectory = join(directory, 'd');
  const first = await startDockerd({ stateDirectory, log: () => undefined });
  let second: typeof first | undefined;
  try {
    await buildTestImages(first.socketPath);
    await using runtime = createDockerRuntime({
      executorName: 'h-1',
      dataDirectory: directory,
      dockerHost: `unix://${first.socketPath}`,
      allowLocalImages: true,
      instanceURL: new URL('http://127.0.0.1:1'),
      minFreeDiskBytes: 0,
      warn: (message, error) => warnings.push(`${message}: ${error}`),
    });
    const workspaceDirectory = join(directory, 'w');
    await mkdir(workspaceDirectory);
    await writeFile(join(workspaceDirectory, 's.sh'), 'echo running; sleep 600.4375\n');
    const sandbox = await runtime.create(
      {
        id: 1,
        attempt: 1,
        workspaceDirectory,
        images: [],
        network: 'none',
        limits: { numCPUs: 0, memoryBytes: 0, diskBytes: 0 },
        registryAuth: {},
        notice: () => undefined,
      },
      AbortSignal.timeout(30_000),
    );
    const step: SandboxStep = { name: '0', image: testImages.busybox, scriptPath: 's.sh', dir: '', env: [] };
    const killed = Promise.withResolvers<void>();
    const running = sandbox.run(
      step,
      {
        async write() {
          if (first.pid !== undefined) process.kill(first.pid, 'SIGKILL');
          killed.resolve();
        },
      },
      AbortSignal.timeout(50_000),
    );
    const failure = running.catch((error: unknown) => error);
    await killed.promise;
    // Its containerd ends a moment later; until then no other daemon can start on the same state.
    const containerd = await readFile(join(stateDirectory, 'exec/containerd/containerd.pid'), 'utf8');
    await expect
      .poll(() => stat(`/proc/${containerd.trim()}`).catch(() => 'gone'), { timeout: 20_000 })
      .toBe('gone');
    second = await startDockerd({ stateDirectory, log: () => undefined });
    expect(await failure).toMatchObject({
      name: 'SandboxError',
      infrastructure: true,
      stepBegun: true,
    });
    // Its output may come before Docker says that it was started.
    expect(String(await failure)).toMatch(/Docker went away while the step (ran|was started)/);
    await sandbox[Symbol.asyncDispose]();
    await runtime.sweep(AbortSignal.timeout(30_000));
    const left = await askEngine(first.socketPath, { method: 'GET', path: '/containers/json?all=1' });
    expect(JSON.parse(left.text)).toEqual([]);
    expect(warnings).toEqual([]);
  } finally {
    await second?.stop();
    await first.stop();
    await rm(directory, { recursive: true, force: true });
  }
});
