import type { AttemptView, JobSummary, JobView, LogEntryView, Waiting } from '@kiln/protocol';
import type { Enqueued, NewJob } from '../../queue/index.ts';
import { stepViews } from './step-views.ts';
import type { ListedJob, NewSubmission } from './store.ts';

/** A job as lists show it. */
export function jobSummary(job: ListedJob, namespace: string): JobSummary {
  return {
    id: job.id,
    queue: job.queue,
    namespace,
    state: job.state,
    failureKind: job.failureKind,
    failureMessage: job.failureMessage,
    cancelRequested: job.cancelRequested,
    priority: job.priority,
    attempt: job.attempt,
    repository: job.repository,
    revision: job.revision,
    commit: job.commit,
    executor: job.executorName,
    queuedAt: job.queuedAt.toISOString(),
    startedAt: job.startedAt?.toISOString() ?? null,
    finishedAt: job.finishedAt?.toISOString() ?? null,
  };
}

export interface JobDetails {
  namespace: string;
  waiting: Waiting | null;
  attempts: AttemptView[];
  /** Of all attempts. */
  logEntries: LogEntryView[];
}

/** A job with everything about it. Its steps are those of the last attempt. */
export function jobView(job: ListedJob, details: JobDetails): JobView {
  const { namespace, waiting, attempts, logEntries } = details;
  // A job that waits again after a retry or a lost attempt has run none of its steps in the attempt to come.
  const current = job.state === 'queued' ? [] : logEntries.filter((entry) => entry.attempt === job.attempt);
  return {
    ...jobSummary(job, namespace),
    waiting,
    attempts,
    isolation: job.isolation,
    timeoutSeconds: job.timeoutSeconds,
    network: job.spec.network,
    steps: stepViews(job.spec, current, job.state),
    logEntries,
    usage: job.usage,
    notices: job.notices,
  };
}

/** The row of a job that has just been submitted, without reading it. */
export function newJobRow(job: NewJob, submitted: NewSubmission, { id, queuedAt }: Enqueued): ListedJob {
  const { repository, revision, commit, spec, notices, userId } = submitted;
  return {
    ...job,
    id,
    jobId: id,
    state: 'queued',
    failureKind: null,
    failureMessage: null,
    cancelRequested: false,
    attempt: 0,
    resets: 0,
    executorName: null,
    isolation: null,
    usage: [],
    queuedAt,
    availableAt: null,
    startedAt: null,
    finishedAt: null,
    repository,
    revision,
    commit,
    spec,
    notices,
    userId,
  };
}
