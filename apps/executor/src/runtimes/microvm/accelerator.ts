import { chown, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { shareFile } from './drives/index.ts';
import type { Guest } from './guest/index.ts';
import type { VmNames } from './names.ts';
import type { Accelerator, Vmm } from './vmm/index.ts';

export interface Verdict {
  accelerator: Accelerator;
  /** Why not KVM; empty where it is. */
  because: string;
}

const cacheSchema = z.object({
  accelerator: z.enum(['kvm', 'tcg']),
  because: z.string(),
  /** What the verdict depends on: this boot of this machine, the kernel that is to run, the VMM. */
  of: z.string(),
});

const probeSeconds = 20;
const pollMilliseconds = 100;
const device = '/dev/kvm';

export interface ProbeOptions {
  vmm: Vmm;
  vmmVersion: string;
  guest: Guest;
  cacheFile: string;
  /** For the test boot: a VM that is recorded, and removed again afterwards. */
  names: VmNames;
  record(pid: number): Promise<void>;
  remove(): Promise<void>;
}

/**
 * Finds out whether KVM can run the guest. That `/dev/kvm` opens is no proof: there are machines on which ordinary kernels never reach
 * user space under it. So one is booted, within a time limit, and the verdict kept until the machine boots anew.
 */
export async function probeAccelerator(options: ProbeOptions, signal: AbortSignal): Promise<Verdict> {
  const missing = await whyUnusable();
  if (missing !== undefined) return { accelerator: 'tcg', because: missing };
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const of = [boot, options.guest.digest, options.vmm.name, options.vmmVersion].join(' ');
  const cached = await readCache(options.cacheFile);
  if (cached?.of === of) return cached;
  const verdict = await bootUnderKvm(options, signal);
  await writeFile(`${options.cacheFile}.new`, JSON.stringify({ ...verdict, of }), { mode: 0o600 });
  await rename(`${options.cacheFile}.new`, options.cacheFile);
  return verdict;
}

/** @returns undefined when the device can be opened */
async function whyUnusable(): Promise<string | undefined> {
  try {
    await (await open(device, 'r+')).close();
    return undefined;
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    return code === 'ENOENT' ? `there is no ${device}` : `${device} cannot be opened (${String(code)})`;
  }
}

async function readCache(file: string): Promise<z.infer<typeof cacheSchema> | undefined> {
  try {
    return cacheSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    // None yet, or not readable: probed anew.
    return undefined;
  }
}

async function bootUnderKvm(options: ProbeOptions, signal: AbortSignal): Promise<Verdict> {
  const { names, guest, vmm } = options;
  try {
    await mkdir(names.directory, { recursive: true, mode: 0o700 });
    await shareFile(guest.kernelPath, join(names.directory, 'kernel'));
    await shareFile(guest.initrdPath, join(names.directory, 'initrd'));
    await chown(names.directory, names.uid, names.uid);
    const gated = await vmm.prepare(
      {
        name: names.name,
        directory: names.directory,
        uid: names.uid,
        accelerator: 'kvm',
        cpus: 1,
        memoryBytes: 256 * 1024 ** 2,
        kernelFile: 'kernel',
        initrdFile: 'initrd',
        // Not quiet: the kernel says when it has come to user space.
        kernelArguments: ['console=ttyS0', 'panic=-1', 'reboot=k'],
        drives: [],
        network: undefined,
      },
      { survive: false },
    );
    await options.record(gated.pid);
    const vm = await gated.go();
    const begin = performance.now();
    while (performance.now() - begin < probeSeconds * 1000) {
      signal.throwIfAborted();
      if (/Run \/init as init process/.test(vm.consoleTail())) {
        await vm.stop(0);
        return { accelerator: 'kvm', because: '' };
      }
      const ended = await Promise.race([vm.ended, wait(pollMilliseconds)]);
      if (ended !== undefined)
        return { accelerator: 'tcg', because: `a test boot under KVM ended (${ended})` };
    }
    await vm.stop(0);
    return {
      accelerator: 'tcg',
      because: `a test boot under KVM did not reach user space within ${probeSeconds} s`,
    };
  } catch (error) {
    signal.throwIfAborted();
    const message = error instanceof Error ? error.message : String(error);
    return { accelerator: 'tcg', because: `a test boot under KVM failed: ${message}` };
  } finally {
    await options.remove();
  }
}
