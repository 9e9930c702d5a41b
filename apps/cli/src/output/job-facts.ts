import {
  formatByteSize,
  formatDuration,
  isEnded,
  type JobSummary,
  type JobView,
  type StepView,
} from '@kiln/protocol';
import { showAge, showMilliseconds } from './durations.ts';
import type { Output } from './output.ts';
import { facts, table } from './table.ts';

/** One job for people, as `job show` prints it. */
export function jobFacts(job: JobView, output: Output, nowMs: number): string[] {
  const lines = facts([
    ['job', String(job.id)],
    ['state', stateText(job, output, 'stdout')],
    ['failure', job.failureMessage],
    ['waiting', job.waiting?.message],
    ['repository', repositoryText(job)],
    ['queue', job.queue],
    ['namespace', job.namespace],
    ['priority', job.priority === 0 ? undefined : String(job.priority)],
    ['queued', `${job.queuedAt} (${showAge(job.queuedAt, nowMs)})`],
    ['started', job.startedAt],
    ['took', tookText(job)],
    ['time limit', formatDuration(job.timeoutSeconds)],
    ['attempt', job.attempt > 1 ? String(job.attempt) : undefined],
    ['executor', job.executor],
    ['isolation', isolationText(job)],
    ['network', job.network],
  ]);
  for (const notice of job.notices) lines.push(`notice: ${notice}`);
  lines.push('', ...table(['STEP', 'STATE', 'EXIT', 'TOOK', 'IMAGE', 'COMMAND'], job.steps.map(stepRow)));
  if (job.attempts.length > 0) {
    lines.push(
      '',
      ...table(
        ['ATTEMPT', 'ENDED', 'EXECUTOR', 'MESSAGE'],
        job.attempts.map((past) => [
          String(past.attempt),
          past.ended ?? '',
          past.executor,
          past.message ?? '',
        ]),
      ),
    );
  }
  if (job.usage.length > 0) {
    lines.push(
      '',
      ...table(['USAGE', 'CPU', 'PEAK MEMORY', 'DISK', 'RECEIVED', 'SENT'], job.usage.map(usageRow)),
    );
  }
  return lines;
}

export function jobTable(jobs: readonly JobSummary[], nowMs: number): string[] {
  return table(
    ['JOB', 'STATE', 'QUEUE', 'QUEUED', 'TOOK', 'REPOSITORY', 'FAILURE'],
    jobs.map((job) => [
      String(job.id),
      job.cancelRequested && !isEnded(job.state) ? `${job.state} (canceling)` : job.state,
      job.queue,
      showAge(job.queuedAt, nowMs),
      tookText(job) ?? '',
      repositoryText(job) ?? '',
      shorten(job.failureMessage ?? '', 80),
    ]),
  );
}

/** `completed`, `failed (timeout)`, ... in its colour. */
export function stateText(job: JobSummary, output: Output, stream: 'stdout' | 'stderr'): string {
  // The other two say no more than the state does.
  const kind = ['lost', 'timeout', 'document'].includes(job.failureKind ?? '') ? ` (${job.failureKind})` : '';
  const flag = job.cancelRequested && !isEnded(job.state) ? ' (cancel requested)' : '';
  const colours = {
    queued: 'yellow',
    processing: 'cyan',
    completed: 'green',
    failed: 'red',
    canceled: 'yellow',
  } as const;
  return output.style(colours[job.state], `${job.state}${kind}${flag}`, stream);
}

export function isolationText(job: JobView): string | undefined {
  if (!job.isolation) return undefined;
  const { runtime, vmm, accelerator } = job.isolation;
  return [runtime, vmm, accelerator].filter((part) => part !== undefined).join(', ');
}

/** From the claim to the end; undefined where it has not ended. */
export function tookText(job: JobSummary): string | undefined {
  if (!job.startedAt || !job.finishedAt) return undefined;
  return showMilliseconds(Date.parse(job.finishedAt) - Date.parse(job.startedAt));
}

function repositoryText(job: JobSummary): string | undefined {
  if (!job.repository) return undefined;
  const commit = job.commit?.slice(0, 12);
  const revision = job.revision && !job.commit?.startsWith(job.revision) ? job.revision : undefined;
  const at = [revision, commit].filter((part) => part !== undefined).join(' = ');
  return at === '' ? job.repository : `${job.repository} @ ${at}`;
}

function stepRow(step: StepView, index: number): string[] {
  return [
    step.key === String(index) ? String(index + 1) : `${index + 1} ${step.key}`,
    step.state,
    step.exitCode === null ? '' : String(step.exitCode),
    step.durationMs === null ? '' : showMilliseconds(step.durationMs),
    step.image,
    shorten(step.run, 60),
  ];
}

function usageRow(usage: JobView['usage'][number]): string[] {
  const bytes = (value: number | undefined) => (value === undefined ? '' : formatByteSize(value));
  return [
    usage.key,
    usage.cpuSeconds === undefined ? '' : `${usage.cpuSeconds.toFixed(2)} s`,
    bytes(usage.peakMemoryBytes),
    bytes(usage.diskBytes),
    bytes(usage.networkRxBytes),
    bytes(usage.networkTxBytes),
  ];
}

function shorten(text: string, length: number): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
}
