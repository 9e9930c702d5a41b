import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { MachineShape } from '../machine.ts';
import type { Vmm } from '../vmm/index.ts';
import { openSnapshots, type Snapshots } from './snapshots.ts';

let directory: string;
let warnings: string[];
let made: MachineShape[];
const { signal } = new AbortController();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-snapshots-'));
  for (const name of ['kernel', 'initrd', 'root']) await writeFile(join(directory, name), name);
  warnings = [];
  made = [];
});
afterEach(() => rm(directory, { recursive: true }));

const vmm: Vmm = {
  name: 'qemu',
  control: () => ({ socketPath: '' }),
  prepare: () => Promise.reject(new Error('nothing is started here')),
  machine: async ({ cpus, memoryBytes }) => `${cpus} ${memoryBytes}`,
};

function open(make: (path: string) => Promise<void> = (path) => writeFile(path, 'state')): Snapshots {
  return openSnapshots({
    directory: join(directory, 'snapshots'),
    async make(shape, path) {
      made.push(shape);
      await make(path);
    },
    warn: (message) => warnings.push(message),
  });
}

function shape(memoryBytes: number): MachineShape {
  const [kernelPath, initrdPath, rootPath] = ['kernel', 'initrd', 'root'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  return {
    vmm,
    guest: { digest: 'd', kernelVersion: '6.1', kernelPath, initrdPath, rootPath, kernelArguments: [] },
    accelerator: 'tcg',
    cpus: 1,
    memoryBytes,
    hasNetwork: false,
  };
}

test('one is made for each shape, by whoever comes first', async () => {
  const snapshots = open();
  const [first, second, other] = await Promise.all(
    [1, 1, 2].map((bytes) => snapshots.of(shape(bytes), signal)),
  );
  expect(first).toEqual(second);
  expect(other).not.toEqual(first);
  expect(made.map(({ memoryBytes }) => memoryBytes).toSorted()).toEqual([1, 2]);
  // As another process finds it.
  expect(await open().of(shape(1), signal)).toEqual(first);
  expect(made).toHaveLength(2);
});

test('another guest file, and a day, make it useless', async () => {
  const first = await open().of(shape(1), signal);
  await writeFile(join(directory, 'root'), 'another');
  const second = await open().of(shape(1), signal);
  expect(second).not.toEqual(first);
  const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
  await utimes(second?.path ?? '', yesterday, yesterday);
  await open().of(shape(1), signal);
  expect(made).toHaveLength(3);
});

test('the least used go', async () => {
  const snapshots = open();
  const path = async (bytes: number) => (await snapshots.of(shape(bytes), signal))?.path ?? '';
  for (const bytes of [1, 2, 3]) {
    const used = new Date(Date.now() - (10 - bytes) * 1000);
    await utimes(await path(bytes), used, used);
  }
  await path(1);
  await path(4);
  expect((await readdir(join(directory, 'snapshots'))).length).toBe(3);
  await path(1);
  expect(made.map(({ memoryBytes }) => memoryBytes)).toEqual([1, 2, 3, 4]);
});

test('without one, VMs boot: after a failure no more are tried', async () => {
  const failing = open(() => Promise.reject(new Error('no')));
  expect(await failing.of(shape(1), signal)).toBeUndefined();
  expect(await failing.of(shape(2), signal)).toBeUndefined();
  expect(made).toHaveLength(1);
  expect(warnings).toHaveLength(1);

  const snapshots = open();
  const snapshot = await snapshots.of(shape(1), signal);
  await snapshots.refuse(snapshot ?? { path: '', places: [] }, new Error('damaged'));
  expect(await snapshots.of(shape(1), signal)).toBeUndefined();
  expect(await readdir(join(directory, 'snapshots'))).toEqual([]);
  expect(warnings).toHaveLength(2);
});

test('whoever is stopped does not wait, and the others get it', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const snapshots = open(async (path) => {
    await promise;
    await writeFile(path, 'state');
  });
  const stop = new AbortController();
  const stopped = snapshots.of(shape(1), stop.signal);
  const waiting = snapshots.of(shape(1), signal);
  stop.abort(new Error('stopped'));
  await expect(stopped).rejects.toThrow('stopped');
  resolve();
  expect(await waiting).toBeDefined();
  expect(made).toHaveLength(1);
});
