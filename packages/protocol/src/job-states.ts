import { z } from 'zod';

export const jobStates = ['queued', 'processing', 'completed', 'failed', 'canceled'] as const;
export const jobStateSchema = z.enum(jobStates);
export type JobState = (typeof jobStates)[number];

/** States that a job leaves only by a retry. */
export const endedStates = ['completed', 'failed', 'canceled'] as const satisfies readonly JobState[];
export function isEnded(state: JobState): boolean {
  return (endedStates as readonly JobState[]).includes(state);
}

/**
 * Why a `failed` job failed.
 * - `errored`: the executor reported an error of a command or of its own (`markErrored`)
 * - `failed`: the executor reported a failure that no other attempt would mend (`markFailed`)
 * - `lost`: executors vanished with it too many times
 * - `timeout`: it ran past its time limit
 * - `document`: the instance could not build its job document
 */
export const failureKinds = ['errored', 'failed', 'lost', 'timeout', 'document'] as const;
export const failureKindSchema = z.enum(failureKinds);
export type FailureKind = (typeof failureKinds)[number];
