import { chown, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { SandboxError } from '../runtime.ts';
import { connectGuest } from './channel/index.ts';
import type { Guest } from './guest/index.ts';
import { machineSpec, shareGuest } from './machine.ts';
import type { VmNames } from './names.ts';
import { type Accelerator, consoleText, type GatedProcess, type Vm, type Vmm } from './vmm/index.ts';

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
const memoryBytes = 256 * 1024 ** 2;
/** Characters. */
const longestReason = 400;
const kvmDevice = '/dev/kvm';

export interface ProbeOptions {
  vmm: Vmm;
  vmmVersion: string;
  guest: Guest;
  cacheFile: string;
  /** For the test boot: a VM that is recorded, and removed again afterwards. */
  names: VmNames;
  /** Told before anything of the VM is made, and again of the VMM's process before it is let go. */
  record(pid?: number): Promise<void>;
  remove(): Promise<void>;
  /** For tests: that the guest has to come up, and the device. */
  seconds?: number;
  device?: string;
}

/**
 * Finds out whether a VMM can run the guest under KVM. That `/dev/kvm` opens is no proof: there are machines on which ordinary kernels
 * never reach user space under it. So the guest is booted, within a time limit, until its agent answers, and the verdict is kept
 * until the machine boots anew.
 * @throws SandboxError for what kept the guest from being started: that says nothing of KVM; the signal's reason
 */
export async function probeAccelerator(options: ProbeOptions, signal: AbortSignal): Promise<Verdict> {
  const missing = await whyUnusable(options.device ?? kvmDevice);
  if (missing !== undefined) return { accelerator: 'tcg', because: missing };
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const of = [boot, options.guest.digest, options.vmm.name, options.vmmVersion].join(' ');
  const cached = await readCache(options.cacheFile);
  if (cached?.of === of) return cached;
  const verdict = await bootUnderKvm(options, signal);
  // Others may find out the same at this moment.
  const file = `${options.cacheFile}.${options.names.sandbox}`;
  await writeFile(file, JSON.stringify({ ...verdict, of }), { mode: 0o600 });
  await rename(file, options.cacheFile);
  return verdict;
}

/** @returns undefined when the device can be opened */
async function whyUnusable(device: string): Promise<string | undefined> {
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
  const { names, guest, vmm, seconds = probeSeconds } = options;
  let gated: GatedProcess | undefined;
  let vm: Vm | undefined;
  try {
    await options.record();
    await mkdir(names.directory, { recursive: true, mode: 0o700 });
    await shareGuest(guest, names.directory);
    await chown(names.directory, names.uid, names.uid);
    const shape = { vmm, guest, accelerator: 'kvm', cpus: 1, memoryBytes, hasNetwork: false } as const;
    gated = await vmm.prepare({ ...machineSpec(shape, names), network: undefined }, { survive: false });
    await options.record(gated.pid);
    try {
      vm = await inTime(gated.go(), seconds);
      await untilAnswered(vm, seconds, signal);
      return { accelerator: 'kvm', because: '' };
    } catch (error) {
      signal.throwIfAborted();
      return { accelerator: 'tcg', because: `a test boot under KVM failed: ${briefly(error)}` };
    }
  } catch (error) {
    signal.throwIfAborted();
    throw new SandboxError(`no test boot under KVM could be made: ${briefly(error)}`, {
      infrastructure: true,
      cause: error,
    });
  } finally {
    await (vm === undefined ? gated?.cancel() : vm.stop(0));
    await options.remove();
  }
}

async function inTime(starting: Promise<Vm>, seconds: number): Promise<Vm> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`the VMM did not start it within ${seconds} s`)),
    seconds * 1000,
  );
  try {
    return await Promise.race([starting, late.promise]);
  } finally {
    clearTimeout(timer);
    // Of what is given up there is no more to say.
    starting.catch(() => undefined);
  }
}

/** @throws Error when the guest's agent does not answer in time, or the VM ends before */
async function untilAnswered(vm: Vm, seconds: number, signal: AbortSignal): Promise<void> {
  const given = new AbortController();
  const timer = setTimeout(
    () => given.abort(new Error(`it did not come up within ${seconds} s${consoleText(vm)}`)),
    seconds * 1000,
  );
  vm.ended.then((how) => given.abort(new Error(`it ended (${how})${consoleText(vm)}`)));
  const { socketPath, vsockPort } = vm.control;
  try {
    const either = AbortSignal.any([signal, given.signal]);
    const channel = await connectGuest(socketPath, { signal: either, vsockPort });
    await channel[Symbol.asyncDispose]();
  } finally {
    clearTimeout(timer);
  }
}

/** What happened, and the last that was said of it; a whole console is too much for a line. */
function briefly(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const lines = message.split('\n').filter((line) => line.trim() !== '');
  return [...new Set([lines[0], lines.at(-1)])].join(' ').slice(0, longestReason);
}
