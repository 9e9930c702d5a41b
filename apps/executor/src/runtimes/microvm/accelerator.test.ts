import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { probeAccelerator } from './accelerator.ts';
import { vmNames } from './names.ts';
import type { Vmm } from './vmm/index.ts';

const vmm: Vmm = {
  name: 'qemu',
  control: () => ({ socketPath: '' }),
  prepare: () => Promise.reject(new Error('nothing is started here')),
};

test('what keeps the guest from being started is no verdict on KVM, and what was made is recorded before', async () => {
  const base = await mkdtemp(join(tmpdir(), 'kiln-probe-'));
  const path = (name: string): string => join(base, name);
  const names = vmNames({ executor: 'e', job: 0, attempt: 0 }, 'kiln', base);
  const told: string[] = [];
  try {
    await writeFile(path('kvm'), '');
    const probed = probeAccelerator(
      {
        vmm,
        vmmVersion: '1',
        guest: {
          digest: 'd',
          kernelVersion: '6.1',
          kernelPath: path('missing'),
          initrdPath: path('missing'),
          rootPath: path('missing'),
          kernelArguments: [],
        },
        cacheFile: path('verdict'),
        names,
        record: async () => void told.push(existsSync(names.directory) ? 'too late' : 'recorded'),
        remove: async () => void told.push('removed'),
        device: path('kvm'),
      },
      new AbortController().signal,
    );
    await expect(probed).rejects.toMatchObject({ name: 'SandboxError', infrastructure: true });
    expect(told).toEqual(['recorded', 'removed']);
    expect(existsSync(path('verdict'))).toBe(false);
  } finally {
    await rm(base, { recursive: true });
  }
});
