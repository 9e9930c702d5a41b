import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { formatByteSize } from '@kiln/protocol';
import { z } from 'zod';
import { type JobNetworkOptions, networkMeter } from '../network/index.ts';
import { removeCgroup } from '../remove-cgroup.ts';
import type { Sandbox, SandboxJob, SandboxLimits, SandboxStep, StepResult, StepStreams } from '../runtime.ts';
import { removeContainer } from './container.ts';
import { type ContainerSurroundings, equivalentCommand } from './container-spec.ts';
import type { DaemonFacts } from './daemon-facts.ts';
import type { Engine } from './engine.ts';
import type { Images } from './images.ts';
import { ownershipFilter, type SandboxNames } from './names.ts';
import { createNetwork, type DockerNetwork, removeNetwork } from './network.ts';
import { runStep, type StepSurroundings } from './step.ts';
import { readWorkspaceFile, removeWorkspaceFile } from './workspace-file.ts';

export interface SandboxSurroundings {
  engine: Engine;
  images: Images;
  facts: DaemonFacts;
  names: SandboxNames;
  network: JobNetworkOptions;
  hostMountPath: string | undefined;
  addHostGateway: boolean;
  minFreeDiskBytes: number;
  maxProcesses: number;
  /** Called when the sandbox is gone from the machine, or could not be removed now. */
  onRemoved(error: unknown): Promise<void>;
}

/** A registry that takes longer to answer is waited for where it can be said: by the step. */
const earlyAnswerSeconds = 5;

/** @throws SandboxError; what was made until then is removed again */
export async function createSandbox(
  around: SandboxSurroundings,
  job: SandboxJob,
  signal: AbortSignal,
): Promise<Sandbox> {
  const { engine, names, facts } = around;
  const limits = limitsOf(job, facts);
  let network: DockerNetwork | undefined;
  if (job.network === 'public') {
    const early = AbortSignal.any([signal, AbortSignal.timeout(earlyAnswerSeconds * 1000)]);
    try {
      // While the daemon makes the network, the registry can be asked whether the first step's image is still the same.
      [network] = await Promise.all([
        createNetwork(engine, names, around.network, job.notice),
        ...job.images.slice(0, 1).map((image) => around.images.confirm(image, job.registryAuth, early)),
      ]);
    } catch (error) {
      await dispose(around);
      throw error;
    }
  }
  const separateCgroups = facts.cgroupDriver === 'cgroupfs' && (await cgroupsVisible(facts));
  let stepCount = 0;
  let removal: Promise<void> | undefined;
  /** Ends steps that run when the sandbox is given up. */
  const gone = new AbortController();
  /** Steps, and removals of their containers. */
  const running = new Set<Promise<unknown>>();

  const gateway = network?.gateway;
  const meter =
    network &&
    networkMeter(
      {
        table: names.table,
        networkNamespace: around.network.networkNamespace,
        closedBecause: network.closedBecause,
      },
      job.notice,
    );
  const networkUsage = async (): Promise<StepResult['usage']> =>
    meter?.usage() ?? { networkRxBytes: 0, networkTxBytes: 0 };

  /** No step runs any more, and no container of one is left. */
  async function close(): Promise<void> {
    gone.abort();
    while (running.size > 0) await Promise.allSettled(running);
  }

  function container(number: number): ContainerSurroundings {
    return {
      names,
      workspaceSource:
        around.hostMountPath === undefined
          ? job.workspaceDirectory
          : join(around.hostMountPath, basename(job.workspaceDirectory)),
      network: gateway === undefined ? 'none' : names.network,
      nameServers: gateway === undefined ? [] : [gateway],
      extraHosts: around.addHostGateway && gateway !== undefined ? [`host.docker.internal:${gateway}`] : [],
      limits,
      maxProcesses: around.maxProcesses,
      cgroupParent: separateCgroups ? `${names.cgroup}/${number}` : undefined,
    };
  }

  function stepSurroundings(number: number): StepSurroundings {
    return {
      engine,
      images: around.images,
      job: { ...job, limits },
      container: container(number),
      fileSystems: [job.workspaceDirectory, facts.rootDirectory],
      minFreeDiskBytes: around.minFreeDiskBytes,
      networkUsage,
      later(work) {
        running.add(work);
        work.finally(() => running.delete(work));
      },
    };
  }

  return {
    commandLine: (step: SandboxStep) => equivalentCommand(step, step.image, container(stepCount + 1)),
    async run(step: SandboxStep, streams: StepStreams, signal: AbortSignal) {
      stepCount += 1;
      const either = AbortSignal.any([signal, gone.signal]);
      const ran = runStep(stepSurroundings(stepCount), step, streams, either);
      const outcome = meter?.whileRunning(ran) ?? ran;
      running.add(outcome);
      try {
        return await outcome;
      } finally {
        running.delete(outcome);
      }
    },
    readFile: (path, maxBytes) => readWorkspaceFile(job.workspaceDirectory, path, maxBytes),
    removeFile: (name) => removeWorkspaceFile(job.workspaceDirectory, name),
    close,
    async [Symbol.asyncDispose]() {
      await close();
      removal ??= dispose(around);
      await removal;
    },
  };
}

/** Removes all that belongs to a sandbox, by its labels and names. */
export async function removeSandbox(
  engine: Engine,
  names: Pick<SandboxNames, 'executor' | 'sandbox' | 'network' | 'bridge' | 'table' | 'cgroup'>,
  networkNamespace: string | undefined,
): Promise<void> {
  const containers = await engine.json(
    {
      method: 'GET',
      path: '/containers/json',
      query: { all: 'true', filters: ownershipFilter(names) },
      deadlineSeconds: 30,
    },
    z.array(z.object({ Id: z.string() })),
  );
  await Promise.all(containers.map(({ Id }) => removeContainer(engine, Id)));
  await removeNetwork(engine, names, networkNamespace);
  await removeCgroup(names.cgroup);
}

async function dispose(around: SandboxSurroundings): Promise<void> {
  try {
    await removeSandbox(around.engine, around.names, around.network.networkNamespace);
  } catch (error) {
    await around.onRemoved(error);
    return;
  }
  await around.onRemoved(undefined);
}

/** Docker refuses more CPUs than the machine has, and takes more memory than it has without a word. */
function limitsOf(job: SandboxJob, facts: DaemonFacts): SandboxLimits {
  const { limits } = job;
  if (limits.memoryBytes > facts.memoryBytes)
    job.notice(
      `the job's memory limit of ${formatByteSize(limits.memoryBytes)} is more than this machine has (${formatByteSize(facts.memoryBytes)})`,
    );
  if (limits.numCPUs <= facts.numCPUs) return limits;
  job.notice(`the job gets ${facts.numCPUs} CPUs: this machine has no ${limits.numCPUs}`);
  return { ...limits, numCPUs: facts.numCPUs };
}

async function cgroupsVisible(facts: DaemonFacts): Promise<boolean> {
  const path = facts.cgroupVersion === '2' ? '/sys/fs/cgroup/cgroup.procs' : '/sys/fs/cgroup/cpuacct/tasks';
  return stat(path).then(
    () => true,
    () => false,
  );
}
