import { expect, test } from 'vitest';
import type { Verdict } from './accelerator.ts';
import { choiceFinding, chooseVmm, type VmmSetting } from './choose-vmm.ts';
import type { Guest } from './guest/index.ts';
import type { FirecrackerPrograms, Unusable } from './vmm/index.ts';

const guest: Guest = {
  digest: 'd',
  kernelVersion: '6.1.0',
  kernelPath: '/vmlinuz',
  initrdPath: '/initrd',
  rootPath: '/root.squashfs',
  kernelArguments: [],
};
const programs = { firecracker: '/bin/firecracker', jailer: '/bin/jailer', version: '1.16.1' };
const missing: Unusable = { because: 'Firecracker is not installed', fix: 'Install it.', missing: true };
const works: Verdict = { accelerator: 'kvm', because: '' };
const hangs: Verdict = { accelerator: 'tcg', because: 'it did not come up within 20 s' };

/** @returns what was chosen, and what was tried on the way */
async function choice(
  setting: VmmSetting,
  installed: FirecrackerPrograms | Unusable,
  verdicts: { firecracker?: Verdict; qemu?: Verdict },
) {
  const tried: string[] = [];
  const chosen = await chooseVmm({
    setting,
    guest,
    find: async () => {
      tried.push('looked for Firecracker');
      return installed;
    },
    forFirecracker: async (given) => ({ ...given, kernelPath: '/vmlinux' }),
    async probe(vmm, _version, { kernelPath }) {
      tried.push(`booted ${kernelPath} by ${vmm.name}`);
      return verdicts[vmm.name] ?? hangs;
    },
  });
  return { chosen, tried };
}

test('Firecracker where a test boot of it works', async () => {
  const { chosen, tried } = await choice('auto', programs, { firecracker: works });
  expect(chosen).toMatchObject({
    vmm: { name: 'firecracker' },
    accelerator: 'kvm',
    guest: { kernelPath: '/vmlinux' },
  });
  expect(tried).toEqual(['looked for Firecracker', 'booted /vmlinux by firecracker']);
  expect(choiceFinding(chosen)).toMatchObject({ severity: 'ok' });
});

test('QEMU where Firecracker is there but its guests never start, with KVM where those of QEMU do', async () => {
  const { chosen, tried } = await choice('auto', programs, { firecracker: hangs, qemu: works });
  expect(chosen).toMatchObject({
    vmm: { name: 'qemu' },
    accelerator: 'kvm',
    guest: { kernelPath: '/vmlinuz' },
  });
  expect(tried.at(-1)).toBe('booted /vmlinuz by qemu');
});

test('software emulation where KVM runs nothing, said plainly', async () => {
  const { chosen } = await choice('auto', missing, { qemu: hangs });
  expect(chosen).toMatchObject({ vmm: { name: 'qemu' }, accelerator: 'tcg' });
  expect(choiceFinding(chosen)).toMatchObject({
    severity: 'warning',
    message: expect.stringContaining('it did not come up within 20 s'),
  });
});

test('nothing else where Firecracker is asked for and cannot be had', async () => {
  for (const [installed, verdict, because] of [
    [missing, works, 'Firecracker is not installed'],
    [programs, hangs, 'Firecracker does not run here: it did not come up within 20 s'],
  ] as const) {
    const { chosen, tried } = await choice('firecracker', installed, { firecracker: verdict, qemu: works });
    expect(chosen).toMatchObject({ because });
    expect(tried).not.toContain('booted /vmlinuz by qemu');
    expect(choiceFinding(chosen)).toMatchObject({ severity: 'error', message: because });
  }
});

test('QEMU where that is asked for, without a look at Firecracker', async () => {
  const { chosen, tried } = await choice('qemu', programs, { firecracker: works, qemu: works });
  expect(chosen).toMatchObject({ vmm: { name: 'qemu' }, accelerator: 'kvm' });
  expect(tried).toEqual(['booted /vmlinuz by qemu']);
});
