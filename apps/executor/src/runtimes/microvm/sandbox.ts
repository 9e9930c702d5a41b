import { chmod, chown, lchown, lstat, mkdir, rename, rm, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { formatByteSize } from '@kiln/protocol';
import { networkMeter } from '../network/index.ts';
import {
  type Sandbox,
  SandboxError,
  type SandboxJob,
  type SandboxLimits,
  type SandboxStep,
  type StepResult,
  type StepStreams,
} from '../runtime.ts';
import { directoryInContainer, scriptInContainer, workspaceTarget } from '../step/index.ts';
import { untilAborted } from '../until-aborted.ts';
import { type AttachedImages, attachedImages, guestsOwn, type MountedImage } from './attached-images.ts';
import { type BootedVm, bootVm } from './boot.ts';
import type { GuestChannel } from './channel/index.ts';
import { makeEmptyDrive, makeWorkspaceDrive } from './drives/index.ts';
import type { Guest } from './guest/index.ts';
import { guestRun, guestScript } from './guest-run.ts';
import { prepareGuest, setUpGuest } from './guest-setup.ts';
import type { ImageStore } from './images/index.ts';
import { machineSpec, shareGuest } from './machine.ts';
import type { VmNames } from './names.ts';
import type { NetworkOptions } from './network.ts';
import type { Snapshots } from './snapshots/index.ts';
import { runStep } from './steps/run-step.ts';
import { type Accelerator, consoleText, type Vmm } from './vmm/index.ts';

export interface VmSurroundings {
  vmm: Vmm;
  accelerator: Accelerator;
  guest: Guest;
  /** undefined: the VM boots. */
  snapshots: Snapshots | undefined;
  store: ImageStore;
  names: VmNames;
  network: NetworkOptions;
  addHostGateway: boolean;
  startupScriptPath: string | undefined;
  /** Where workspaces are put that are to be kept; undefined: they go with the VM. */
  keepIn: string | undefined;
  minFreeDiskBytes: number;
  maxProcesses: number;
  /** The VM outlives this process. */
  survive: boolean;
  /** Told of the VMM's process before it is let go. */
  record(pid: number): Promise<void>;
  /** Removes all of the VM from this machine; never fails. */
  remove(): Promise<void>;
}

export interface VmSandbox extends Sandbox {
  readonly channel: GuestChannel;
  /** Runs a step without any image, in the guest's own files. */
  runInGuest(step: SandboxStep, streams: StepStreams, signal: AbortSignal): Promise<StepResult>;
  /** Lets go of a VM that is to survive: it can be attached to from now on. */
  release(): Promise<void>;
}

/** QMP's `quit` takes a moment; there is nothing in the VM that must be saved. */
const stopMilliseconds = 500;
const syncMilliseconds = 30_000;
/**
 * A guest that is no longer ours may answer and do nothing. What is asked of it ends within this, or the VM is ended. Longer
 * than a step's own end takes on a machine that has much else to do.
 */
const guestMilliseconds = 90_000;
/** The guest's kernel and agent, and what the kernel needs to keep account of the job's memory. */
const guestMemoryBytes = 256 * 1024 ** 2;
const memoryShare = 1 / 50;
const files = { work: 'work.ext4', scratch: 'scratch.ext4' };

/** @throws SandboxError; what was made until then is removed again */
export async function createVmSandbox(
  around: VmSurroundings,
  asked: SandboxJob,
  signal: AbortSignal,
): Promise<VmSandbox> {
  const job = { ...asked, limits: limitsOf(asked) };
  const images = attachedImages(around.names.directory, around.store, job.registryAuth, job.notice);
  try {
    const shape = {
      vmm: around.vmm,
      guest: around.guest,
      accelerator: around.accelerator,
      cpus: job.limits.numCPUs,
      memoryBytes: vmMemoryBytes(job.limits),
      hasNetwork: job.network === 'public',
    };
    const machine = machineSpec(shape, around.names);
    await prepareFiles(around, job, images, signal);
    const snapshot = await around.snapshots?.of(shape, signal);
    const begin = performance.now();
    const booted = await bootVm(
      {
        vmm: around.vmm,
        names: around.names,
        spec: {
          ...machine,
          drives: [
            ...machine.drives,
            { serial: 'work', file: files.work, readOnly: false },
            { serial: 'scratch', file: files.scratch, readOnly: false },
            ...images.drives(),
          ],
          snapshot,
        },
        network: job.network === 'public' ? around.network : undefined,
        survive: around.survive,
        refuse: around.snapshots?.refuse,
        record: around.record,
        notice: job.notice,
      },
      signal,
    );
    try {
      images.mounted(booted.restored?.drives ?? []);
      await untilAborted(readyForSteps(around, booted, job.notice, signal), signal);
    } catch (error) {
      await booted.channel[Symbol.asyncDispose]();
      await booted.vm.stop(0);
      throw error;
    }
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    const how = booted.restored ? ' from a snapshot' : '';
    job.notice(
      `the VM ${around.names.name} is up after ${seconds} s${how} (${around.vmm.name}, ${around.accelerator})`,
    );
    return sandboxOf(around, job, images, booted);
  } catch (error) {
    await around.remove();
    throw error;
  }
}

async function readyForSteps(
  around: VmSurroundings,
  { channel, network, restored }: BootedVm,
  notice: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  if (restored === undefined) await prepareGuest(channel, signal);
  await setUpGuest(channel, { ...around, network }, notice, signal);
}

function sandboxOf(
  around: VmSurroundings,
  job: SandboxJob,
  images: AttachedImages,
  { vm, channel, network }: BootedVm,
): VmSandbox {
  const meter =
    network &&
    networkMeter(
      {
        table: around.names.table,
        networkNamespace: around.network.networkNamespace,
        closedBecause: network.closedBecause,
      },
      job.notice,
    );
  /** Ends steps that run when the sandbox is given up. */
  const gone = new AbortController();
  const running = new Set<Promise<unknown>>();
  /** Of what earlier steps wrote outside the workspace. */
  const removals = new Set<Promise<void>>();
  let stepCount = 0;
  let isReleased = false;
  let removal: Promise<void> | undefined;

  const lost = Promise.race([
    vm.ended.then((how) => `the VM ended (${how})${consoleText(vm)}`),
    channel.closed.then(async (reason) => {
      const how = await Promise.race([vm.ended, wait(stopMilliseconds, undefined, { ref: false })]);
      if (how !== undefined) return `the VM ended (${how})${consoleText(vm)}`;
      // Whatever it is now, it is not what we booted.
      if (!gone.signal.aborted && !isReleased) await vm.stop(0);
      return `the VM was ended: ${reason.message}${consoleText(vm)}`;
    }),
  ]);

  function endVm(): void {
    vm.stop(0).catch((error) =>
      job.notice(`the VM could not be ended yet: ${error instanceof Error ? error.message : String(error)}`),
    );
  }

  /** Ends the VM when this has not ended in time. */
  async function inTime<Result>(work: Promise<Result>): Promise<Result> {
    const timer = setTimeout(endVm, guestMilliseconds);
    try {
      return await whileAlive(work);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the VM when this goes on although it was told to stop. */
  async function untilStopped<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(endVm, guestMilliseconds);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await whileAlive(work);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Of something that needs the VM: ends also when that dies. */
  async function whileAlive<Result>(work: Promise<Result>): Promise<Result> {
    work.catch(() => undefined);
    const died = lost.then((message): never => {
      throw new SandboxError(message, { infrastructure: true });
    });
    died.catch(() => undefined);
    try {
      return await Promise.race([work, died]);
    } catch (error) {
      if (error instanceof SandboxError) throw error;
      // The channel's own errors come a moment before it is known why it ended.
      const message = await Promise.race([lost, wait(2 * stopMilliseconds, undefined, { ref: false })]);
      if (message === undefined) throw error;
      throw new SandboxError(message, { infrastructure: true, cause: error });
    }
  }

  async function runWithImage(
    step: SandboxStep,
    streams: StepStreams,
    signal: AbortSignal,
  ): Promise<StepResult> {
    let image: MountedImage;
    try {
      signal.throwIfAborted();
      image = await images.mount(step.image, vm, channel, signal);
    } catch (error) {
      if (signal.aborted) return { exitCode: -1, usage: {} };
      throw error;
    }
    return run(image, step, streams, signal);
  }

  async function run(
    image: MountedImage,
    step: SandboxStep,
    streams: StepStreams,
    signal: AbortSignal,
  ): Promise<StepResult> {
    stepCount += 1;
    const number = stepCount;
    // An earlier step may have filled the disk that this one needs.
    await Promise.all(removals);
    const ran = runStep(
      {
        channel,
        job,
        number,
        image,
        maxProcesses: around.maxProcesses,
        drivesDirectory: around.names.directory,
        minFreeDiskBytes: around.minFreeDiskBytes,
        later(work) {
          removals.add(work);
          work.finally(() => removals.delete(work));
        },
      },
      step,
      streams,
      signal,
    );
    const result = await (meter?.whileRunning(ran) ?? ran);
    const traffic = meter === undefined ? { networkRxBytes: 0, networkTxBytes: 0 } : await meter.usage();
    return { ...result, usage: { ...result.usage, ...traffic } };
  }

  async function untilGone<Result>(
    signal: AbortSignal,
    work: (either: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const either = AbortSignal.any([signal, gone.signal]);
    const outcome = untilStopped(work(either), either);
    running.add(outcome);
    try {
      return await outcome;
    } finally {
      running.delete(outcome);
    }
  }

  async function remove(): Promise<void> {
    // What the guest has not written yet is missing from the kept disk; a guest that does not answer holds up nothing.
    if (around.keepIn !== undefined)
      await Promise.race([
        guestRun(channel, ['sync']).catch(() => undefined),
        wait(syncMilliseconds, undefined, { ref: false }),
      ]);
    await channel[Symbol.asyncDispose]();
    await vm.stop(stopMilliseconds);
    if (around.keepIn !== undefined) await keepWorkspace(around, job, around.keepIn);
    await around.remove();
  }

  return {
    channel,
    commandLine: (step) => equivalentCommand(step, job),
    run: (step, streams, signal) => untilGone(signal, (either) => runWithImage(step, streams, either)),
    runInGuest: (step, streams, signal) =>
      untilGone(signal, (either) => run(guestsOwn, step, streams, either)),
    async readFile(path, maxBytes) {
      const inGuest = workspacePath(path);
      if (inGuest === undefined) return undefined;
      return inTime(
        channel.readFile(inGuest, maxBytes).catch((error: unknown) => {
          // Larger than allowed, or no regular file.
          if (error instanceof Error && error.name === 'GuestError') return undefined;
          throw error;
        }),
      );
    },
    async removeFile(name) {
      if (name.includes('/') || name === '..')
        throw new RangeError(`${JSON.stringify(name)} is not a file name`);
      return (await inTime(guestScript(channel, removeFileScript, [name]))).trim() === 'was there';
    },
    async release() {
      isReleased = true;
      await channel[Symbol.asyncDispose]();
    },
    async [Symbol.asyncDispose]() {
      gone.abort();
      while (running.size > 0) await Promise.allSettled(running);
      await Promise.all(removals);
      removal ??= remove();
      await removal;
    },
  };
}

const removeFileScript = `
cd /work
if [ -e "./$1" ] || [ -L "./$1" ]; then echo 'was there'; unlink "./$1" 2>/dev/null || true; fi
`;

/** All files of the VM, each belonging to its user. */
async function prepareFiles(
  around: VmSurroundings,
  job: SandboxJob,
  images: AttachedImages,
  signal: AbortSignal,
): Promise<void> {
  const { directory, uid } = around.names;
  const path = (name: string): string => join(directory, name);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const diskBytes = job.limits.diskBytes > 0 ? job.limits.diskBytes : await freeBytes(directory);
  const work = [
    makeWorkspaceDrive(path(files.work), diskBytes, job.workspaceDirectory, signal),
    makeEmptyDrive(path(files.scratch), diskBytes, signal),
    shareGuest(around.guest, directory),
    // One that cannot be had fails the step that needs it, if there ever is one.
    ...job.images.map((reference) => images.fetch(reference, signal).catch(() => undefined)),
  ];
  // None must go on while what it makes is removed.
  const failed = (await Promise.allSettled(work)).find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  signal.throwIfAborted();
  for (const name of [files.work, files.scratch]) await chown(path(name), uid, uid);
  await chmod(directory, 0o700);
  await chown(directory, uid, uid);
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** The disk as the steps left it. Nothing mounts it: `debugfs` looks into it. */
async function keepWorkspace(around: VmSurroundings, job: SandboxJob, directory: string): Promise<void> {
  const kept = join(directory, `${basename(job.workspaceDirectory)}.ext4`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await rename(join(around.names.directory, files.work), kept);
  await lchown(kept, 0, 0);
  const stats = await lstat(kept);
  if (!stats.isFile() || stats.nlink !== 1) {
    // A VMM that was taken over may have put anything in its place.
    await rm(kept);
    job.notice('the workspace is not kept: the VM left no disk of its own');
    return;
  }
  job.notice(
    `the workspace as the steps left it is kept at ${kept} (debugfs -R 'ls -l /' FILE looks into it)`,
  );
}

/** What the machine does not have is not given, and said. */
function limitsOf(job: SandboxJob): SandboxLimits {
  const { limits } = job;
  const [cpus, memory] = [availableParallelism(), totalmem()];
  if (limits.numCPUs > cpus) job.notice(`the job gets ${cpus} CPUs: this machine has no ${limits.numCPUs}`);
  if (limits.memoryBytes > memory)
    job.notice(
      `the job's memory limit of ${formatByteSize(limits.memoryBytes)} is more than this machine has (${formatByteSize(memory)})`,
    );
  return {
    numCPUs: limits.numCPUs === 0 ? cpus : Math.min(Math.ceil(limits.numCPUs), cpus),
    memoryBytes: Math.min(limits.memoryBytes, memory),
    diskBytes: limits.diskBytes,
  };
}

function vmMemoryBytes({ memoryBytes }: SandboxLimits): number {
  if (memoryBytes === 0) return totalmem();
  return Math.min(Math.round(memoryBytes * (1 + memoryShare)) + guestMemoryBytes, totalmem());
}

function workspacePath(path: string): string | undefined {
  const components = path.split('/').filter((component) => component !== '' && component !== '.');
  if (components.length === 0 || components.includes('..') || path.includes('\0')) return undefined;
  return `/work/${components.join('/')}`;
}

/** For people who want to try a step by hand, in a container. Variables by name only. */
function equivalentCommand(step: SandboxStep, job: SandboxJob): string[] {
  return [
    ...['docker', 'run', '--rm', '--init'],
    ...(job.network === 'none' ? ['--network=none'] : []),
    ...['--mount', `type=bind,source=${job.workspaceDirectory},target=${workspaceTarget}`],
    ...['--workdir', directoryInContainer(step)],
    ...step.env.flatMap((variable) => ['-e', variable.split('=', 1)[0] ?? '']),
    '--entrypoint=/bin/sh',
    step.image,
    scriptInContainer(step),
  ];
}
