import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { probeAccelerator } from '../../apps/executor/src/runtimes/microvm/accelerator.ts';
import { vmNames } from '../../apps/executor/src/runtimes/microvm/names.ts';
import { createFirecracker } from '../../apps/executor/src/runtimes/microvm/vmm/index.ts';
import { type Behaviour, installStandIns, requestsSeen } from '../kit/firecracker/index.ts';

let base: string;
let programs: string;
/** Directories of VMs that were removed. */
let removed: string[];

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'kiln-kvm-'));
  programs = join(base, 'programs');
  await mkdir(programs);
  removed = [];
  for (const name of ['kvm', 'vmlinux', 'initrd', 'root.squashfs']) await writeFile(join(base, name), name);
});
afterEach(() => rm(base, { recursive: true, force: true }));

async function probe(
  behaviour: Behaviour,
  more: { device?: string; digest?: string; seconds?: number } = {},
) {
  await installStandIns(programs, behaviour);
  const names = vmNames({ executor: 'e', job: 0, attempt: 0 }, 'kiln', join(base, 'vms'));
  await mkdir(join(base, 'vms'), { recursive: true });
  return probeAccelerator(
    {
      vmm: createFirecracker({
        firecracker: join(programs, 'firecracker'),
        jailer: join(programs, 'jailer'),
        version: '1.16.1',
      }),
      vmmVersion: '1.16.1',
      guest: {
        digest: more.digest ?? 'guest',
        kernelVersion: '6.1.0',
        kernelPath: join(base, 'vmlinux'),
        initrdPath: join(base, 'initrd'),
        rootPath: join(base, 'root.squashfs'),
        kernelArguments: [],
      },
      cacheFile: join(base, 'kvm.json'),
      names,
      record: async () => undefined,
      async remove() {
        removed.push(names.directory);
        await rm(names.directory, { recursive: true, force: true });
      },
      // Of programs that start as slowly as the machine has them.
      seconds: more.seconds ?? 60,
      device: more.device ?? join(base, 'kvm'),
    },
    AbortSignal.timeout(120_000),
  );
}

/** For what never comes; long enough for all that does come before. */
const briefly = 6;

const boots = () => requestsSeen(programs).filter(({ what }) => what === 'PUT /actions').length;

test('a guest whose agent answers proves that KVM works', async () => {
  expect(await probe({})).toEqual({ accelerator: 'kvm', because: '' });
  expect(removed).toHaveLength(1);
});

test('a guest that never starts ends the attempt in time; it is told, remembered, and not tried again', async () => {
  const verdict = await probe({ agentIsMissing: true }, { seconds: briefly });
  expect(verdict).toMatchObject({
    accelerator: 'tcg',
    because: expect.stringContaining(`a test boot under KVM failed: it did not come up within ${briefly} s`),
  });
  expect(removed.map((directory) => existsSync(directory))).toEqual([false]);
  expect(await probe({})).toMatchObject(verdict);
  expect(boots()).toBe(1);
});

test('another guest is tried anew', async () => {
  await probe({ agentIsMissing: true }, { seconds: briefly });
  expect(await probe({}, { digest: 'newer' })).toMatchObject({ accelerator: 'kvm' });
  expect(boots()).toBe(2);
});

test('a VMM that hangs ends the attempt in time too', async () => {
  expect(await probe({ ignores: 'PUT /vsock' }, { seconds: briefly })).toMatchObject({
    accelerator: 'tcg',
    because: `a test boot under KVM failed: the VMM did not start it within ${briefly} s`,
  });
  expect(boots()).toBe(0);
});

test('a VMM that ends is told with its last words', async () => {
  expect(await probe({ endsAt: 'PUT /actions' })).toMatchObject({
    accelerator: 'tcg',
    because: expect.stringContaining('thread panicked'),
  });
});

test('without the device nothing is booted', async () => {
  expect(await probe({}, { device: join(base, 'none') })).toMatchObject({
    accelerator: 'tcg',
    because: expect.stringContaining('there is no '),
  });
  expect(() => boots()).toThrow('ENOENT');
});
