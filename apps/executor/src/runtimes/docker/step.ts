import { setTimeout as wait } from 'node:timers/promises';
import { formatByteSize } from '@kiln/protocol';
import {
  SandboxError,
  type SandboxJob,
  type SandboxStep,
  type StepResult,
  type StepStreams,
} from '../runtime.ts';
import { readCgroupUsage } from './cgroup-usage.ts';
import { containerEnd, endContainer, inspectContainer, removeContainer } from './container.ts';
import { type ContainerSurroundings, containerSpec } from './container-spec.ts';
import { directoryBytes, watchDisk } from './disk-watch.ts';
import { type Engine, enginePath } from './engine.ts';
import { EngineError, EngineUnreachable, isGone } from './engine-errors.ts';
import type { Images } from './images.ts';
import { containerName } from './names.ts';
import { type OutputPump, pumpOutput } from './output-pump.ts';
import { sampleStats } from './stats-sampler.ts';

export interface StepSurroundings {
  engine: Engine;
  images: Images;
  job: SandboxJob;
  container: ContainerSurroundings;
  /** File systems whose free space is watched. */
  fileSystems: readonly string[];
  minFreeDiskBytes: number;
  /** What went over the network since it was asked last. */
  networkUsage(): Promise<StepResult['usage']>;
  /** Takes work that may end after the step, but is waited for before the sandbox is gone. */
  later(work: Promise<void>): void;
}

/** After a container's end, Docker owes the rest of its output within this. */
const maxOutputIdleSeconds = 15;
/** What a step still says while it is being ended is waited for so long. */
const lastWordsMilliseconds = 1000;

/** Runs one step in a container of its own, from image to removal. See {@link Sandbox.run}. */
export async function runStep(
  around: StepSurroundings,
  step: SandboxStep,
  streams: StepStreams,
  signal: AbortSignal,
): Promise<StepResult> {
  const { engine, container } = around;
  const name = containerName(container.names, step.name);
  try {
    if (!(await createContainer(around, name, step, signal))) return { exitCode: -1, usage: {} };
    return await runContainer(around, name, step, streams, signal);
  } finally {
    // Also after a creation whose answer never came. What cannot be removed now is removed with the sandbox.
    around.later(
      removeContainer(engine, name).catch((error) =>
        around.job.notice(`the step's container could not be removed yet: ${messageOf(error)}`),
      ),
    );
  }
}

/** @returns false when the signal aborted before anything was made */
async function createContainer(
  around: StepSurroundings,
  name: string,
  step: SandboxStep,
  signal: AbortSignal,
): Promise<boolean> {
  const { engine, images, job } = around;
  for (let attempt = 1; ; attempt++) {
    let image: string;
    try {
      signal.throwIfAborted();
      image = (await images.resolve(step.image, job.registryAuth, job.notice, signal)).id;
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
    try {
      await engine.send({
        method: 'POST',
        path: '/containers/create',
        query: { name },
        body: containerSpec(step, image, around.container),
        deadlineSeconds: 120,
      });
      return true;
    } catch (error) {
      const isPruned = isGone(error) && /no such image/i.test(messageOf(error));
      if (isPruned && attempt === 1) continue;
      throw error instanceof SandboxError ? error : startError(error, step);
    }
  }
}

async function runContainer(
  around: StepSurroundings,
  name: string,
  step: SandboxStep,
  streams: StepStreams,
  signal: AbortSignal,
): Promise<StepResult> {
  const { engine, job, container } = around;
  const pump = pumpOutput(await attach(engine, name), streams);
  // Every failure of the pump is looked at where the step's end is awaited.
  pump.done.catch(() => undefined);
  try {
    await engine.send({
      method: 'POST',
      path: `/containers${enginePath(name)}/start`,
      deadlineSeconds: 120,
    });
  } catch (error) {
    pump.cut();
    throw startError(error, step);
  }

  const ended = containerEnd(engine, name);
  ended.catch(() => undefined);
  const unkillable = Promise.withResolvers<never>();
  unkillable.promise.catch(() => undefined);
  let killedBecause: string | undefined;
  let ending: Promise<void> | undefined;
  let cutting: NodeJS.Timeout | undefined;
  const end = (gently: boolean): void => {
    if (ending) return;
    // Docker answers no kill of a container whose output is not taken. So a log that is stuck must not keep a step alive.
    cutting = setTimeout(() => pump.cut(), lastWordsMilliseconds);
    ending = endContainer(engine, name, { gently, ended }).catch(unkillable.reject);
  };
  const onAbort = (): void => end(true);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();

  const sampler = container.cgroupParent === undefined ? sampleStats(engine, name) : undefined;
  let volumes: readonly string[] = [];
  const directories = (): string[] => [job.workspaceDirectory, ...volumes];
  const disk = watchDisk({
    directories,
    layerBytes: async (stopped) => {
      const state = await inspectContainer(engine, name, { size: true, signal: stopped });
      volumes = state.volumes;
      return state.layerBytes;
    },
    limitBytes: job.limits.diskBytes,
    fileSystems: around.fileSystems,
    minFreeBytes: around.minFreeDiskBytes,
    onExceeded(reason) {
      if (ending) return;
      killedBecause = reason;
      end(false);
    },
  });

  try {
    const pumpFailure = pump.done.then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    const failed = await Promise.race([
      ended.then(() => undefined),
      pumpFailure.then((failure) => failure ?? ended.then(() => undefined)),
      unkillable.promise,
    ]);
    if (failed) throw failed.error;
    const broken = await restOfOutput(pump, pumpFailure, () => ending !== undefined);
    if (broken) throw broken.error;
  } catch (error) {
    // Whatever went wrong (a log that cannot be written, a daemon that went away), the step must not live on.
    end(false);
    await Promise.race([ended, unkillable.promise]).catch(() => undefined);
    throw whileRunning(error);
  } finally {
    signal.removeEventListener('abort', onAbort);
    clearTimeout(cutting);
    pump.cut();
    await disk[Symbol.asyncDispose]();
  }

  const [state, workspaceBytes, cgroup, network] = await Promise.all([
    inspectContainer(engine, name, { size: true }).catch((error) => {
      throw whileRunning(error);
    }),
    directoryBytes(directories(), AbortSignal.timeout(2000)).catch(() => 0),
    container.cgroupParent === undefined ? sampler?.stop() : readCgroupUsage(container.cgroupParent),
    around.networkUsage(),
  ]);
  const usage = {
    ...cgroup,
    ...network,
    diskBytes: Math.max(disk.peakBytes(), state.layerBytes + workspaceBytes),
  };
  if (ending !== undefined && (signal.aborted || killedBecause !== undefined))
    return { exitCode: -1, ...(killedBecause === undefined ? {} : { killedBecause }), usage };
  if (state.outOfMemory) {
    const reason = `it needed more memory than its limit of ${formatByteSize(job.limits.memoryBytes)}`;
    if (state.exitCode === 137) return { exitCode: -1, killedBecause: reason, usage };
    job.notice(`a process of the step was killed, because ${reason}`);
  }
  return { exitCode: state.exitCode, usage };
}

async function attach(engine: Engine, name: string) {
  try {
    return await engine.stream({
      method: 'POST',
      path: `/containers${enginePath(name)}/attach`,
      query: { stream: '1', stdout: '1', stderr: '1' },
      deadlineSeconds: 30,
    });
  } catch (error) {
    throw new SandboxError(`the step's output could not be attached to: ${messageOf(error)}`, {
      infrastructure: true,
      cause: error,
    });
  }
}

/** Waits for the output of an ended container, as long as it moves; of one that was ended by us only briefly. */
async function restOfOutput<T>(
  pump: OutputPump,
  done: Promise<T>,
  isEndedByUs: () => boolean,
): Promise<T | undefined> {
  const over = new AbortController();
  const giveUp = async (): Promise<undefined> => {
    let elapsed = 0;
    while (!over.signal.aborted && pump.idleSeconds() < maxOutputIdleSeconds) {
      await wait(100, undefined, { signal: over.signal }).catch(() => undefined);
      if (isEndedByUs()) elapsed += 100;
      if (elapsed >= lastWordsMilliseconds) break;
    }
    pump.cut();
    // A write that hangs is not waited for, except where the step ended by itself: then all of its output counts.
    if (!isEndedByUs()) await done;
    return undefined;
  };
  try {
    return await Promise.race([done, giveUp()]);
  } finally {
    over.abort();
  }
}

function startError(error: unknown, step: SandboxStep): SandboxError {
  const message = messageOf(error);
  const mistakes: [RegExp, string][] = [
    [
      /"\/bin\/sh".*(no such file|not found|permission denied)/i,
      `image ${step.image} has no /bin/sh, which steps are run with`,
    ],
    [/not a directory|mkdir \/data/i, `the working directory ${JSON.stringify(step.dir)} is not a directory`],
  ];
  const mistake = mistakes.find(([pattern]) => pattern.test(message));
  if (mistake && error instanceof EngineError)
    return new SandboxError(mistake[1], { infrastructure: false, cause: error });
  // An answer that never came may have been a yes.
  if (error instanceof EngineUnreachable)
    return new SandboxError(`Docker went away while the step was started: ${message}`, {
      infrastructure: true,
      stepBegun: true,
      cause: error,
    });
  const hint = /bind source path does not exist/i.test(message)
    ? ' (does the executor run in a container? Then EXECUTOR_DOCKER_HOST_MOUNT_PATH must name the host directory that holds the workspaces)'
    : '';
  return new SandboxError(`the step's container could not be started: ${message}${hint}`, {
    infrastructure: true,
    cause: error,
  });
}

/** What a failure of the daemon means after the step's start. */
function whileRunning(error: unknown): unknown {
  if (!(error instanceof EngineUnreachable || error instanceof EngineError)) return error;
  return new SandboxError(`Docker went away while the step ran: ${error.message}`, {
    infrastructure: true,
    stepBegun: true,
    cause: error,
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
