import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createResolver, parseCIDR } from '../network/index.ts';
import { processStart } from '../records/index.ts';
import { type Runtime, SandboxError, type SandboxJob } from '../runtime.ts';
import { defaultMaxProcesses } from '../step/index.ts';
import { probeAccelerator, type Verdict } from './accelerator.ts';
import { type AttachedSession, attachToVm } from './attach.ts';
import {
  type ChosenVmm,
  choiceFinding,
  chooseVmm,
  longestSocketPath,
  type VmmSetting,
} from './choose-vmm.ts';
import { type Guest, installedGuest, unpackedKernel } from './guest/index.ts';
import { guestRun } from './guest-run.ts';
import { openImageStore } from './images/index.ts';
import { type VmNames, vmNames } from './names.ts';
import { type VmRecord, vmRecords } from './records.ts';
import { isRunning, removeVm } from './removal.ts';
import { createVmSandbox, type VmSandbox } from './sandbox.ts';
import { makeSnapshot, openSnapshots } from './snapshots/index.ts';
import { tryOutFix, tryStep } from './try-step.ts';
import { directoryFindings, machineFindings, noGuest } from './validate.ts';
import { createQemu, findFirecracker, type Unusable, type Vmm } from './vmm/index.ts';

export interface MicrovmRuntimeOptions {
  /** `<host>-<uuid>` */
  executorName: string;
  /** Of the executor. Guest, images, drives and records are kept below it, on one file system. */
  dataDirectory: string;
  /** `EXECUTOR_VMM` */
  vmm?: VmmSetting;
  /** `EXECUTOR_VM_PREFIX`: what VMs' names begin with. */
  vmPrefix: string;
  /** `EXECUTOR_VM_STARTUP_SCRIPT_PATH` */
  startupScriptPath?: string | undefined;
  /** `EXECUTOR_KEEP_WORKSPACES` */
  keepWorkspaces?: boolean;
  /** `EXECUTOR_VM_SNAPSHOTS`; true unless given. */
  snapshots?: boolean;
  /** `EXECUTOR_DOCKER_ADD_HOST_GATEWAY` */
  addHostGateway?: boolean;
  /** `EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES` */
  allowLocalImages?: boolean;
  /** `EXECUTOR_DOCKER_REGISTRY_MIRROR_URL` */
  registryMirrorURLs?: readonly string[];
  /** Bytes that images may take. */
  maxImageBytes: number;
  /** `EXECUTOR_FIRECRACKER_IMAGE`, `EXECUTOR_FIRECRACKER_KERNEL_IMAGE`: instead of what is installed. */
  ownRootPath?: string | undefined;
  ownKernelPath?: string | undefined;
  /** `EXECUTOR_FIRECRACKER_BANDWIDTH_INGRESS` and `_EGRESS`, bytes per second; 0: no limit. */
  bandwidth?: { ingress: number; egress: number };
  allowedCIDRs?: readonly string[];
  /** `EXECUTOR_FRONTEND_URL`: steps may reach it wherever it is. */
  instanceURL: URL;
  minFreeDiskBytes: number;
  maxProcesses?: number;
  /** Where this machine's end of VMs' networks is; undefined: in this process's own namespace. */
  networkNamespace?: string | undefined;
  /** Whom jobs' lookups are passed to; undefined: this machine's name servers. */
  nameServers?: readonly string[];
  /** For what went wrong outside any job. */
  warn(message: string, error: unknown): void;
}

export interface MicrovmRuntime extends Runtime, AsyncDisposable {
  /**
   * Boots a VM that outlives this process, for looking into it.
   * @returns its name
   */
  keep(job: SandboxJob, signal: AbortSignal): Promise<string>;
  /** Names of the VMs of this data directory that were left on purpose. */
  kept(): Promise<string[]>;
  /**
   * Runs a command in a VM that was left on purpose, outside any container, until it ends.
   * @returns its exit code; undefined when there is no VM of that name
   */
  attach(name: string, session: AttachedSession): Promise<number | undefined>;
  /** Removes a VM that was left on purpose. @returns whether there was one of that name */
  removeKept(name: string): Promise<boolean>;
  /** Runs a command of ours in each VM of this process, outside any container; what each printed. */
  inEach(argv: readonly string[]): Promise<string[]>;
}

/** Runs jobs in virtual machines. Nothing is started before the first call. */
export function createMicrovmRuntime(options: MicrovmRuntimeOptions): MicrovmRuntime {
  const directory = join(options.dataDirectory, 'microvm');
  const vmsDirectory = join(directory, 'vms');
  const records = vmRecords(options.dataDirectory);
  const store = openImageStore({
    directory: join(options.dataDirectory, 'images'),
    allowLocalImages: options.allowLocalImages ?? false,
    registryMirrorURLs: options.registryMirrorURLs ?? [],
    maxBytes: options.maxImageBytes,
  });
  const allowedCIDRs = (options.allowedCIDRs ?? []).map(parseCIDR);
  const setting = options.vmm ?? 'auto';
  const snapshots = openSnapshots({
    directory: join(options.dataDirectory, 'snapshots'),
    warn: options.warn,
    async make(shape, path, signal) {
      const names = newNames(0, 0);
      live.set(names.sandbox, undefined);
      await write(names);
      await makeSnapshot(
        {
          names,
          record: (pid) => writeProcess(names, pid, false),
          remove: () => remove(names),
        },
        shape,
        path,
        signal,
      );
    },
  });
  const resolver = createResolver(options.warn);
  /** VMs that exist or are being made, with their sandbox once there is one. */
  const live = new Map<string, VmSandbox | undefined>();
  let chosen: ChosenVmm | undefined;
  let orphansRemoved = 0;

  function newNames(job: number, attempt: number): VmNames {
    return vmNames({ executor: options.executorName, job, attempt }, options.vmPrefix, vmsDirectory);
  }

  /** Written before anything of a VM is made, and again with each thing that is only known then. */
  async function write(names: VmNames, more: Pick<VmRecord, 'process' | 'kept'> = {}): Promise<void> {
    const { networkNamespace } = options;
    await records.write({
      ...names,
      ...(networkNamespace === undefined ? {} : { networkNamespace }),
      ...(chosen === undefined ? {} : { control: chosen.vmm.control(names.directory) }),
      ...more,
    });
  }

  async function writeProcess(names: VmNames, pid: number, kept: boolean): Promise<void> {
    const startedAt = await processStart(pid);
    if (startedAt === undefined) throw new SandboxError('the VMM ended at once', { infrastructure: true });
    await write(names, { process: { pid, startedAt }, ...(kept ? { kept } : {}) });
  }

  async function remove(names: VmNames): Promise<void> {
    try {
      const record = (await records.all()).find(({ sandbox }) => sandbox === names.sandbox);
      if (record === undefined) return;
      await removeVm(record, vmsDirectory);
      await records.remove(names.sandbox);
    } catch (error) {
      // It keeps its record: the next sweep takes it.
      options.warn(`the VM of job ${names.job} could not be removed yet`, error);
    } finally {
      live.delete(names.sandbox);
    }
  }

  async function currentGuest(): Promise<Guest | undefined> {
    const guest = await installedGuest(options.dataDirectory);
    return (
      guest && {
        ...guest,
        ...(options.ownRootPath === undefined ? {} : { rootPath: options.ownRootPath }),
        ...(options.ownKernelPath === undefined ? {} : { kernelPath: options.ownKernelPath }),
      }
    );
  }

  async function guestOrThrow(): Promise<Guest> {
    const guest = await currentGuest();
    if (guest) return guest;
    throw new SandboxError(`${noGuest.message}. ${noGuest.fix}`, { infrastructure: true });
  }

  /** Boots a VM under KVM, unless that was done since this machine booted. */
  async function probe(vmm: Vmm, version: string, guest: Guest, signal: AbortSignal): Promise<Verdict> {
    const names = newNames(0, 0);
    await mkdir(vmsDirectory, { recursive: true, mode: 0o700 });
    return probeAccelerator(
      {
        vmm,
        vmmVersion: version,
        guest,
        cacheFile: join(directory, `kvm-${vmm.name}.json`),
        names,
        async record(pid) {
          live.set(names.sandbox, undefined);
          await (pid === undefined ? write(names) : writeProcess(names, pid, false));
        },
        remove: () => remove(names),
      },
      signal,
    );
  }

  async function choose(guest: Guest, signal: AbortSignal): Promise<ChosenVmm | Unusable> {
    // A guest that was installed since is not what was tried.
    if (chosen?.guest.digest === guest.digest) return chosen;
    const choice = await chooseVmm({
      setting,
      guest,
      find: findFirecracker,
      forFirecracker: async (installed) => {
        const key = options.ownKernelPath === undefined ? installed.digest : undefined;
        return { ...installed, kernelPath: await unpackedKernel(directory, installed.kernelPath, key) };
      },
      probe: (vmm, version, probed) => probe(vmm, version, probed, signal),
    });
    if ('vmm' in choice) chosen = choice;
    return choice;
  }

  async function chooseOrThrow(signal: AbortSignal): Promise<ChosenVmm> {
    const choice = await choose(await guestOrThrow(), signal);
    if ('vmm' in choice) return choice;
    throw new SandboxError(`${choice.because}. ${choice.fix}`, { infrastructure: true });
  }

  /** @param warm goes on from a snapshot, which for a VM that is only looked at would not be worth making */
  async function open(
    job: SandboxJob,
    { survive = false, warm = false }: { survive?: boolean; warm?: boolean },
    signal: AbortSignal,
  ): Promise<VmSandbox> {
    const names = newNames(job.id, job.attempt);
    live.set(names.sandbox, undefined);
    try {
      const { vmm, accelerator, guest } = await chooseOrThrow(signal);
      await mkdir(vmsDirectory, { recursive: true, mode: 0o700 });
      await write(names);
      const sandbox = await createVmSandbox(
        {
          vmm,
          accelerator,
          guest,
          snapshots: warm ? snapshots : undefined,
          store,
          names,
          network: {
            instanceURL: options.instanceURL,
            allowedCIDRs,
            networkNamespace: options.networkNamespace,
            resolver,
            nameServers: options.nameServers,
            bandwidth: options.bandwidth ?? { ingress: 0, egress: 0 },
          },
          addHostGateway: options.addHostGateway ?? false,
          startupScriptPath: options.startupScriptPath,
          keepIn: options.keepWorkspaces ? join(directory, 'kept-workspaces') : undefined,
          minFreeDiskBytes: options.minFreeDiskBytes,
          maxProcesses: options.maxProcesses ?? defaultMaxProcesses,
          survive,
          record: (pid) => writeProcess(names, pid, survive),
          remove: () => remove(names),
        },
        job,
        signal,
      );
      live.set(names.sandbox, sandbox);
      return sandbox;
    } catch (error) {
      live.delete(names.sandbox);
      signal.throwIfAborted();
      if (error instanceof SandboxError) throw error;
      throw new SandboxError(error instanceof Error ? error.message : String(error), {
        infrastructure: true,
        cause: error,
      });
    }
  }

  async function keptRecord(name: string): Promise<VmRecord | undefined> {
    return (await records.all()).find((record) => record.kept === true && record.name === name);
  }

  return {
    name: 'microvm',
    get isolation() {
      return {
        runtime: 'microvm',
        ...(chosen === undefined ? {} : { vmm: chosen.vmm.name, accelerator: chosen.accelerator }),
      };
    },
    async validate(signal) {
      const guest = await currentGuest();
      const findings = [
        ...directoryFindings(await longestSocketPath(newNames(0, 0).directory, setting, findFirecracker)),
        ...(await machineFindings(guest, setting, options.networkNamespace)),
      ];
      if (guest === undefined || findings.some(({ severity }) => severity === 'error')) return findings;
      try {
        return [...findings, choiceFinding(await choose(guest, signal))];
      } catch (error) {
        if (!(error instanceof SandboxError)) throw error;
        const fix = 'With too little memory, disk or open files left, free some, and try again.';
        return [...findings, { check: 'kvm', severity: 'error', message: error.message, fix }];
      }
    },
    async tryOut(signal) {
      try {
        await tryStep((job) => open(job, {}, signal), signal);
        return [];
      } catch (error) {
        signal.throwIfAborted();
        const message = error instanceof Error ? error.message : String(error);
        return [
          {
            check: 'microvm',
            severity: 'error',
            message: `no step can be run in a VM: ${message}`,
            fix: tryOutFix,
          },
        ];
      }
    },
    create: (job, signal) => open(job, { warm: options.snapshots ?? true }, signal),
    async sweep(signal) {
      for (const record of await records.abandoned(new Set(live.keys()))) {
        signal.throwIfAborted();
        // Of one that is kept, only what is left after it has ended by itself.
        if (record.kept && record.process && (await isRunning(record.process))) continue;
        try {
          await removeVm(record, vmsDirectory);
          await records.remove(record.sandbox);
          orphansRemoved += 1;
        } catch (error) {
          options.warn(
            `what job ${record.job} of ${record.executor} left behind could not be removed yet`,
            error,
          );
        }
      }
    },
    counts: () => ({ open: live.size, orphansRemoved }),
    async keep(job, signal) {
      const sandbox = await open(job, { survive: true }, signal);
      await sandbox.release();
      const [sandboxId] = [...live].find(([, one]) => one === sandbox) ?? [];
      const record = (await records.all()).find((one) => one.sandbox === sandboxId);
      return record?.name ?? '';
    },
    async kept() {
      return (await records.all()).filter(({ kept }) => kept === true).map(({ name }) => name);
    },
    async attach(name, session) {
      const record = await keptRecord(name);
      return record && attachToVm(record.control ?? createQemu().control(record.directory), session);
    },
    async removeKept(name) {
      const record = await keptRecord(name);
      if (!record) return false;
      await removeVm(record, vmsDirectory);
      await records.remove(record.sandbox);
      return true;
    },
    async inEach(argv) {
      const channels = [...live.values()].flatMap((sandbox) => (sandbox ? [sandbox.channel] : []));
      return Promise.all(channels.map((channel) => guestRun(channel, argv)));
    },
    async [Symbol.asyncDispose]() {
      // Sandboxes belong to their jobs; a store has nothing open.
      await snapshots[Symbol.asyncDispose]();
      await resolver[Symbol.asyncDispose]();
    },
  };
}
