import { randomBytes } from 'node:crypto';
import { availableParallelism, loadavg } from 'node:os';
import { removeCgroup } from '../remove-cgroup.ts';
import { SandboxError } from '../runtime.ts';
import { untilAborted } from '../until-aborted.ts';
import { confine } from './cgroup.ts';
import { connectGuest, type GuestChannel } from './channel/index.ts';
import type { VmNames } from './names.ts';
import {
  makeNetwork,
  makeTap,
  type NetworkOptions,
  removeNetwork,
  type VmNetwork,
  vmInterface,
} from './network.ts';
import {
  consoleText,
  type Drive,
  type GatedProcess,
  type Snapshot,
  TooManyDrives,
  type Vm,
  VmError,
  type Vmm,
  type VmSpec,
} from './vmm/index.ts';

export interface BootOptions {
  vmm: Vmm;
  names: VmNames;
  spec: Omit<VmSpec, 'network'>;
  /** undefined: the VM gets no network interface. Unconnected: one that leads nowhere. */
  network: NetworkOptions | 'unconnected' | undefined;
  /** The VM outlives this process. */
  survive: boolean;
  /** Told of a snapshot that is at fault when the VM could not go on from it. */
  refuse?: ((snapshot: Snapshot, error: unknown) => Promise<void>) | undefined;
  /** Told of the VMM's process before it is let go. */
  record(pid: number): Promise<void>;
  notice(line: string): void;
}

export interface BootedVm {
  vm: Vm;
  channel: GuestChannel;
  network: VmNetwork | undefined;
  /** It went on from a snapshot instead of booting, and has mounted the drives of these serials. */
  restored: { drives: readonly string[] } | undefined;
}

/** An idle machine needs about 4 s under software emulation. */
const bootSeconds = 20;
const mostLoadFactor = 6;
const attempts = 2;

/** Beside the guest's memory: QEMU itself, and the code that emulation translates. */
const vmmMemoryBytes = 768 * 1024 ** 2;
/** Threads that run the guest's processors are its limit; QEMU's own threads get half a processor. */
const vmmCpus = 0.5;
/** Threads of QEMU: one a processor, and up to 64 for input and output. */
const vmmProcesses = 256;

/** What the kernel's random numbers come from in a VM that went on from a snapshot. */
const entropyBytes = 64;

/**
 * Starts a VM and waits for its agent. When it cannot go on from its snapshot, it boots. A boot that hangs (a lost timer tick
 * under emulation) is ended and tried once more, as is one that ended: on a busy machine the kernel may find its timer broken and panic.
 * @throws SandboxError with the end of the console; nothing is left then but the files in the VM's directory
 */
export async function bootVm(options: BootOptions, signal: AbortSignal): Promise<BootedVm> {
  const { snapshot, ...spec } = options.spec;
  if (snapshot !== undefined) {
    try {
      return await tryBoot(options, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SnapshotFailed) await options.refuse?.(snapshot, error.cause);
      else if (!(error instanceof VmError)) throw error;
      options.notice('the VM could not go on from a snapshot of a booted guest; it boots instead');
    }
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryBoot({ ...options, spec }, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof BootFailed)) throw error;
      if (attempt === attempts)
        throw new SandboxError(`${error.message}, ${attempts} times`, { infrastructure: true, cause: error });
      options.notice(`${error.message}; starting it once more`);
    }
  }
}

class BootFailed extends Error {
  override readonly name = 'BootFailed';
}

/** The snapshot is at fault, not what this job has beside it. */
class SnapshotFailed extends Error {
  override readonly name = 'SnapshotFailed';
}

async function tryBoot(options: BootOptions, signal: AbortSignal): Promise<BootedVm> {
  const { names, spec } = options;
  let gated: GatedProcess | undefined;
  let vm: Vm | undefined;
  let isRestoring = false;
  try {
    const device = options.network === undefined ? undefined : vmInterface(names, options.network);
    gated = await options.vmm.prepare({ ...spec, network: device }, { survive: options.survive });
    await options.record(gated.pid);
    await confine(gated.pid, names.cgroup, {
      cpus: spec.cpus + vmmCpus,
      memoryBytes: spec.memoryBytes + vmmMemoryBytes,
      processes: vmmProcesses,
    });
    const network = await connectNetwork(options, gated);
    signal.throwIfAborted();
    isRestoring = spec.snapshot !== undefined;
    vm = await untilAborted(gated.go(), signal);
    const channel = await connect(vm, signal);
    const { snapshot } = spec;
    if (snapshot === undefined) return { vm, channel, network, restored: undefined };
    const drives = filledPlaces(spec.drives, snapshot);
    // Before anything else happens in it: until then it is a copy.
    await untilAborted(channel.renew(new Date(), randomBytes(entropyBytes), drives), signal);
    isRestoring = false;
    for (const drive of withoutPlace(spec.drives, snapshot))
      await untilAborted(vm.attachDrive(drive), signal);
    return { vm, channel, network, restored: { drives } };
  } catch (error) {
    await (vm === undefined ? gated?.cancel() : vm.stop(0));
    if (typeof options.network === 'object') await removeNetwork(names, options.network.networkNamespace);
    await removeCgroup(names.cgroup);
    if (isRestoring) throw new SnapshotFailed('the VM did not go on from its snapshot', { cause: error });
    if (error instanceof TooManyDrives)
      throw new SandboxError(error.message, { infrastructure: false, cause: error });
    throw error;
  }
}

/** Serials of the drives that are in places which were empty when the snapshot was made. */
function filledPlaces(drives: readonly Drive[], { places }: Snapshot): string[] {
  const isEmpty = (serial: string) => places.some((place) => place.serial === serial && !('file' in place));
  return drives.map(({ serial }) => serial).filter(isEmpty);
}

function withoutPlace(drives: readonly Drive[], { places }: Snapshot): Drive[] {
  return drives.filter(({ serial }) => places.every((place) => place.serial !== serial));
}

async function connectNetwork(
  { names, network, survive, notice }: BootOptions,
  vmm: GatedProcess,
): Promise<VmNetwork | undefined> {
  if (network === 'unconnected') await makeTap(names, vmm);
  if (typeof network !== 'object') return undefined;
  return makeNetwork(names, vmm, network, { outlives: survive, notice });
}

async function connect(vm: Vm, signal: AbortSignal): Promise<GuestChannel> {
  const seconds = bootSeconds * loadFactor();
  const given = new AbortController();
  const hung = () =>
    new BootFailed(`the VM did not come up within ${Math.round(seconds)} s${consoleText(vm)}`);
  const timer = setTimeout(() => given.abort(hung()), seconds * 1000);
  const onAbort = (): void => given.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  vm.ended.then((how) =>
    given.abort(new BootFailed(`the VM ended while it started (${how})${consoleText(vm)}`)),
  );
  try {
    const { socketPath, vsockPort } = vm.control;
    return await connectGuest(socketPath, { signal: given.signal, vsockPort, isFirst: true });
  } catch (error) {
    throw given.signal.aborted ? given.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** A machine with more to do than processors boots a VM that much later. */
function loadFactor(): number {
  const [load = 0] = loadavg();
  return Math.min(1 + load / availableParallelism(), mostLoadFactor);
}
