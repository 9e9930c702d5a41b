import { setTimeout as wait } from 'node:timers/promises';
import { formatByteSize } from '@kiln/protocol';
import {
  SandboxError,
  type SandboxJob,
  type SandboxStep,
  type StepResult,
  type StepStreams,
} from '../../runtime.ts';
import { checkEnvironment } from '../../step/index.ts';
import type { GuestChannel, GuestProcess } from '../channel/index.ts';
import { guestRun, guestScript, shellCommand } from '../guest-run.ts';
import { containerConfig, type ImageFacts, type StepPlace, stepPlace } from './bundle.ts';
import type { GuestUsage } from './guest-usage.ts';
import { watchHostDisk } from './host-disk-watch.ts';
import { settle } from './settle.ts';

export interface StepSurroundings {
  channel: GuestChannel;
  job: Pick<SandboxJob, 'limits' | 'notice'>;
  /** From 1. */
  number: number;
  image: ImageFacts & { directory: string };
  maxProcesses: number;
  /** On this machine; its file system must keep so many bytes free. */
  drivesDirectory: string;
  minFreeDiskBytes: number;
  /** Takes work that may end after the step, but is waited for before the sandbox is gone. */
  later(work: Promise<void>): void;
}

/** For a canceled step to end by itself (SIGTERM) before it is killed. */
const graceMilliseconds = 1000;
/** What a step still says while it is being ended is waited for so long. */
const lastWordsMilliseconds = 1000;
/** A guest that does not even kill a control group within this is of no use any more. */
const endSeconds = 60;

const killedBySignal9 = 137;
const notFound = 127;

/** Runs one step in a container of its own inside the VM, from file system to removal. See {@link Sandbox.run}. */
export async function runStep(
  around: StepSurroundings,
  step: SandboxStep,
  streams: StepStreams,
  signal: AbortSignal,
): Promise<StepResult> {
  checkEnvironment(step.env);
  const { channel, job } = around;
  const place = stepPlace(around.number);
  const limits = { memoryBytes: job.limits.memoryBytes, maxProcesses: around.maxProcesses };
  const config = JSON.stringify(containerConfig(step, around.image, limits, place));
  if (signal.aborted) return { exitCode: -1, usage: {} };
  let ended: EndedContainer;
  try {
    ended = await runContainer(around, place, config, step, streams, signal);
  } catch (error) {
    around.later(settle(channel, place).removed);
    throw error;
  }
  const { exitCode, killedBecause, endedByUs } = ended;
  const settlement = settle(channel, place);
  around.later(settlement.removed);
  const usage = await settlement.usage;
  const { outOfMemory, fullDrive, ...used } = usage;
  if (endedByUs)
    return { exitCode: -1, ...(killedBecause === undefined ? {} : { killedBecause }), usage: used };
  if (outOfMemory) {
    const reason = `it needed more memory than its limit of ${formatByteSize(job.limits.memoryBytes)}`;
    if (exitCode === killedBySignal9) return { exitCode: -1, killedBecause: reason, usage: used };
    job.notice(`a process of the step was killed, because ${reason}`);
  }
  if (exitCode !== 0 && fullDrive !== undefined) job.notice(fullText(fullDrive, job, usage));
  return { exitCode, usage: used };
}

interface EndedContainer {
  exitCode: number;
  /** On demand or for a reason; the exit code says nothing then. */
  endedByUs: boolean;
  killedBecause?: string | undefined;
}

/** One command of the guest does all, from file system to exit code: each takes an emulated processor its time. */
async function runContainer(
  around: StepSurroundings,
  place: StepPlace,
  config: string,
  step: SandboxStep,
  streams: StepStreams,
  signal: AbortSignal,
): Promise<EndedContainer> {
  const { channel, image } = around;
  const writeFailure = Promise.withResolvers<never>();
  writeFailure.promise.catch(() => undefined);
  let firstWords = '';
  let isCut = false;
  const process = await channel.exec({
    argv: shellCommand(stepScript, [
      ...[place.bundle, place.layer, place.cgroup, place.log],
      ...[image.directory, place.id],
    ]),
    output: {
      async write(stream, bytes) {
        if (isCut) return;
        if (stream === 'stderr' && firstWords === '')
          firstWords = Buffer.from(bytes.subarray(0, 200)).toString();
        try {
          await streams.write(stream, bytes);
        } catch (error) {
          writeFailure.reject(error);
        }
      },
    },
  });
  void process.write(Buffer.from(config));
  process.end();
  const ended = process.exit;
  ended.catch(() => undefined);

  let killedBecause: string | undefined;
  let ending: Promise<void> | undefined;
  /** Resolves when a step that we end has had its last words, rejects when it cannot be ended. */
  const stopped = Promise.withResolvers<undefined>();
  stopped.promise.catch(() => undefined);
  const end = (gently: boolean): Promise<void> => {
    if (ending === undefined) {
      ending = endContainer(channel, place, process, gently);
      ending.then(() => wait(lastWordsMilliseconds)).then(() => stopped.resolve(undefined), stopped.reject);
    }
    return ending;
  };
  const onAbort = (): void => void end(true).catch(() => undefined);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  using _disk = watchHostDisk(around.drivesDirectory, around.minFreeDiskBytes, (reason) => {
    if (ending) return;
    killedBecause = reason;
    end(false).catch(() => undefined);
  });

  let how: Awaited<GuestProcess['exit']> | undefined;
  try {
    // An output that is not taken keeps the exit back; a step that we end does not wait for it.
    how = await Promise.race([ended, writeFailure.promise, stopped.promise]);
    await ending;
  } catch (error) {
    isCut = true;
    await end(false).catch(() => undefined);
    throw error;
  } finally {
    isCut = ending !== undefined;
    signal.removeEventListener('abort', onAbort);
  }
  const exitCode = how !== undefined && 'code' in how ? how.code : killedBySignal9;
  const endedByUs = ending !== undefined && (signal.aborted || killedBecause !== undefined);
  if (exitCode !== 0 && !endedByUs) await throwStartError(around, place, step, firstWords, exitCode);
  return { exitCode, endedByUs, killedBecause };
}

function fullText(
  drive: 'workspace' | 'scratch',
  { limits }: StepSurroundings['job'],
  usage: GuestUsage,
): string {
  const where = drive === 'workspace' ? "the job's workspace" : 'what the step wrote outside the workspace';
  const used = usage.diskBytes === undefined ? '' : ` (${formatByteSize(usage.diskBytes)} in use)`;
  return `the disk is full${used}: ${where} has reached the job's limit of ${formatByteSize(limits.diskBytes)}`;
}

/** Asks first where `gently`; then nothing of the step is left alive when this resolves. */
async function endContainer(
  channel: GuestChannel,
  place: StepPlace,
  process: GuestProcess,
  gently: boolean,
): Promise<void> {
  if (gently) {
    guestRun(channel, [...crun, 'kill', place.id, 'TERM']).catch(() => undefined);
    await Promise.race([process.exit.catch(() => undefined), wait(graceMilliseconds)]);
  }
  // First who might yet start the container.
  process.kill('KILL');
  const killed = guestScript(channel, killScript, [place.cgroup]);
  killed.catch(() => undefined);
  const late = wait(endSeconds * 1000, undefined, { ref: false }).then(() => {
    throw new SandboxError('the VM does not end the processes of a step', { infrastructure: true });
  });
  await Promise.race([killed, late]);
}

/** What had to be said about its file system or container, when the step never ran. */
async function throwStartError(
  around: StepSurroundings,
  place: StepPlace,
  step: SandboxStep,
  firstWords: string,
  exitCode: number,
): Promise<void> {
  if (exitCode === notFound && /^\[FATAL tini .*exec \/bin\/sh failed/.test(firstWords))
    throw new SandboxError(`image ${step.image} has no /bin/sh, which steps are run with`, {
      infrastructure: false,
    });
  const log = await around.channel.readFile(place.log, 64 * 1024).catch(() => undefined);
  const said = Buffer.from(log ?? [])
    .toString('utf8')
    .trim();
  if (said === '') return;
  if (/not a directory|chdir/i.test(said))
    throw new SandboxError(`the working directory ${JSON.stringify(step.dir)} is not a directory`, {
      infrastructure: false,
    });
  throw new SandboxError(`the step's container could not be started: ${said.slice(-1000)}`, {
    infrastructure: true,
  });
}

const crun = ['crun', '--cgroup-manager', 'cgroupfs'];

/**
 * `$1` bundle, `$2` layer, `$3` control group, `$4` log, `$5` mounted image, `$6` name. Reads the container's description. Until
 * there is a container nothing is said to whoever reads the step's output.
 */
const stepScript = `
exec 3>&2 2>"$4"
mkdir -p "$1" "$2/upper" "$2/work" "$2/root" "$3"
echo '+cpu +memory +pids' >"$3/cgroup.subtree_control"
cp /run/kiln/etc/* "$1/"
cat >"$1/config.json"
mount -i -t overlay -o "lowerdir=$5,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
exec ${crun.join(' ')} --log "$4" run --bundle "$1" "$6" 2>&3 3>&-
`;

/** `$1` control group. Waits until it is empty; one that was not made yet is. */
const killScript = `
[ -e "$1" ] || exit 0
echo 1 >"$1/cgroup.kill"
while grep -q 'populated 1' "$1/cgroup.events"; do sleep 0.02; done
`;
