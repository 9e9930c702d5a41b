import { isEnded, type JobState, type LogEntryView, type StepView } from '@kiln/protocol';
import { type JobSpec, stepName } from './submission.ts';

const stepKeyPrefix = 'step.docker.';

/**
 * How far each step came in an attempt, from the log entries of that attempt: each step is one entry with the key
 * `step.docker.<key or index>` (from the reference).
 */
export function stepViews(spec: JobSpec, entries: readonly LogEntryView[], state: JobState): StepView[] {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  return spec.steps.map((step, index) => {
    const name = stepName(step.key, index);
    const entry = byKey.get(stepKeyPrefix + name);
    return {
      key: name,
      image: step.image,
      run: step.run,
      dir: step.dir,
      state: stepState(entry, state),
      exitCode: entry?.exitCode ?? null,
      startedAt: entry?.startedAt ?? null,
      durationMs: entry?.durationMs ?? null,
    };
  });
}

function stepState(entry: LogEntryView | undefined, state: JobState): StepView['state'] {
  if (entry?.exitCode !== null && entry?.exitCode !== undefined) {
    return entry.exitCode === 0 ? 'completed' : 'failed';
  }
  // An entry without exit code of an ended job: the step was cut off by a timeout, a cancel or a lost executor.
  if (entry) return isEnded(state) ? 'failed' : state === 'processing' ? 'running' : 'waiting';
  return isEnded(state) ? 'skipped' : 'waiting';
}
