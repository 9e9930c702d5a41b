import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { startTestDockerd } from '../../../../../test/kit/dockerd.ts';
import { testImages } from '../../../../../test/kit/images.ts';
import { openEngine } from './engine.ts';
import { createDockerRuntime } from './index.ts';
import { labelsOf, sandboxNames } from './names.ts';
import { dockerRecords } from './records.ts';

afterEach(() => {
  vi.useRealTimers();
});

test('what Docker still makes for a dead executor is removed too', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kiln-sweep-'));
  await using daemon = await startTestDockerd();
  const warnings: string[] = [];
  await using runtime = createDockerRuntime({
    executorName: 'next-1',
    dataDirectory: directory,
    dockerHost: `unix://${daemon.socketPath}`,
    instanceURL: new URL('http://127.0.0.1:1'),
    minFreeDiskBytes: 0,
    warn: (message, error) => warnings.push(`${message}: ${error}`),
  });
  const names = sandboxNames('dead-1', 9, 1);
  const records = dockerRecords(directory);
  const { socketPath } = daemon;
  await records.write({ ...names, socketPath });

  await using engine = openEngine(socketPath);
  const post = (path: string, body: object) =>
    engine.send({ method: 'POST', path, body, deadlineSeconds: 60 });
  const list = (path: string) =>
    engine.json(
      { method: 'GET', path, query: { all: '1' }, deadlineSeconds: 60 },
      z.array(z.looseObject({})),
    );
  const make = async () => {
    await post('/networks/create', { Name: names.network, Driver: 'bridge', Labels: labelsOf(names) });
    await post('/containers/create', { Image: testImages.busybox, Cmd: ['true'], Labels: labelsOf(names) });
  };
  const sweep = () => runtime.sweep(AbortSignal.timeout(60_000));
  const left = async () => [
    ...(await list('/containers/json')),
    ...(await list('/networks')).filter((network) => network['Name'] === names.network),
  ];
  try {
    for (let round = 0; round < 3; round++) {
      await make();
      expect(await left()).toHaveLength(2);
      await sweep();
      expect(await left()).toEqual([]);
      expect(await records.all()).toHaveLength(1);
    }
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
    await sweep();
    expect(await records.all()).toEqual([]);
    expect(runtime.counts?.()).toEqual({ open: 0, orphansRemoved: 1 });
    expect(warnings).toEqual([]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
