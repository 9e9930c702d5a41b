import type { DockerStep, JobDocument, Usage } from '@kiln/protocol';
import type { JobLog } from '../logs/index.ts';
import { type Sandbox, SandboxError, type SandboxStep } from '../runtimes/runtime.ts';
import { pathComponents, scriptPath } from '../workspace/index.ts';
import { StepFailedError } from './failure.ts';
import { takeSkip } from './skip.ts';

export interface StepsOptions {
  document: JobDocument;
  sandbox: Sandbox;
  log: JobLog;
  signal: AbortSignal;
  /** Told the log key of each step before it starts. */
  onStep(logKey: string): void;
  onUsage(usage: Usage): void;
}

/**
 * Runs the container steps of a job one after another; the first that fails ends it.
 * @throws StepFailedError, SandboxError, or the signal's reason
 */
export async function runSteps(options: StepsOptions): Promise<void> {
  const { document, sandbox, signal } = options;
  let waitingFor: string | undefined;
  for (const [index, step] of document.dockerSteps.entries()) {
    signal.throwIfAborted();
    const logKey = `step.docker.${step.key === '' ? index : step.key}`;
    if (waitingFor !== undefined && logKey !== `step.docker.${waitingFor}`) continue;
    waitingFor = undefined;
    options.onStep(logKey);
    await runStep(options, toSandboxStep(document, step, index), logKey);
    if (step.key.endsWith('.pre')) waitingFor = await takeSkip(sandbox);
  }
}

function toSandboxStep(document: JobDocument, step: DockerStep, index: number): SandboxStep {
  return {
    name: step.key === '' ? String(index) : step.key,
    image: step.image,
    scriptPath: scriptPath(document, index),
    dir: pathComponents(step.dir).join('/'),
    env: step.env,
  };
}

async function runStep(options: StepsOptions, step: SandboxStep, logKey: string): Promise<void> {
  const { sandbox, log, signal } = options;
  const entry = log.begin(logKey, sandbox.commandLine(step));
  let exitCode = -1;
  try {
    await checkScript(sandbox, step);
    const result = await sandbox.run(step, entry, signal);
    exitCode = result.exitCode;
    options.onUsage({ key: logKey, ...result.usage });
    signal.throwIfAborted();
    if (result.killedBecause !== undefined) throw new StepFailedError(`killed: ${result.killedBecause}`);
    if (exitCode !== 0) throw new StepFailedError(`command failed with exit code ${exitCode}`);
  } catch (error) {
    // The cause belongs where people look first: at the end of the step's own output.
    if (error instanceof SandboxError || (error instanceof StepFailedError && exitCode === -1))
      entry.note(error.message);
    throw error;
  } finally {
    entry.end(exitCode);
  }
}

/** More than any script that an instance sends. */
const maxScriptBytes = 64 * 2 ** 20;

/** Earlier steps may have removed or replaced it: of a named pipe, the shell would wait for a script until the time limit. */
async function checkScript(sandbox: Sandbox, step: SandboxStep): Promise<void> {
  if ((await sandbox.readFile(step.scriptPath, maxScriptBytes)) === undefined)
    throw new StepFailedError(
      `the script of this step, ${step.scriptPath}, is gone or is no plain file any more: an earlier step changed it`,
    );
}
