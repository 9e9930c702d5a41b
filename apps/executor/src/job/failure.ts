import { formatDuration, messages } from '@kiln/protocol';
import { isInstanceError } from '../client/index.ts';
import { SandboxError } from '../runtimes/runtime.ts';
import { UnsafePathError } from '../workspace/index.ts';
import { stopKind } from './stop.ts';

/** A failure of the job that no other attempt would mend: it is marked failed, not errored. */
export class HopelessError extends Error {
  override readonly name = 'HopelessError';
}

/** A command of the job ended badly; the message says how. */
export class StepFailedError extends Error {
  override readonly name = 'StepFailedError';
}

/** How a job ended, before it is told to the instance. */
export type JobEnd =
  | { kind: 'markComplete' }
  | {
      kind: 'markErrored' | 'markFailed';
      message: string;
      /** The machine was at fault: it should be looked at before it gets another job. */
      infrastructure?: true;
    }
  /** Given back: another executor may do better. */
  | { kind: 'release'; reason: 'infrastructure' | 'shutdown'; message: string }
  /** Nothing is reported. */
  | { kind: 'lost' };

/**
 * What a failure means for the job. Text layers, outermost first: time limit, stage, cause (from the reference).
 * @param stage what was being done, such as `creating workspace` or `running command "step.docker.0"`
 * @param anythingRan whether a step has ended. Then, or when one may have begun, the job is not given back: its effects may
 *   be out already, and only its owner can say whether they may be had twice (the reference gives no such job back either)
 */
export function endOf(
  error: unknown,
  stage: string,
  signal: AbortSignal,
  limitSeconds: number,
  anythingRan: boolean,
): JobEnd {
  const cause = causeText(error);
  switch (stopKind(signal)) {
    case 'lost':
      return { kind: 'lost' };
    case 'shutdown':
      return { kind: 'release', reason: 'shutdown', message: `the executor was shut down while ${stage}` };
    case 'cancel':
      return { kind: 'markFailed', message: `${stage}: canceled` };
    case 'timeout': {
      const limit = messages.overTime(formatDuration(limitSeconds));
      return { kind: 'markErrored', message: `${limit}: ${stage}` };
    }
    case undefined:
  }
  const message = `${stage}: ${cause}`;
  if (isInstanceError(error) && error.kind === 'stale') return { kind: 'lost' };
  if (error instanceof SandboxError && error.infrastructure)
    return anythingRan || error.stepBegun
      ? { kind: 'markErrored', message, infrastructure: true }
      : { kind: 'release', reason: 'infrastructure', message };
  if (error instanceof UnsafePathError || error instanceof HopelessError)
    return { kind: 'markFailed', message };
  return { kind: 'markErrored', message };
}

function causeText(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ENOSPC')
    return 'the disk of the executor is full';
  return error instanceof Error ? error.message : String(error);
}
