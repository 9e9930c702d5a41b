import type { AttemptView, QueueName } from '@kiln/protocol';
import type { Executable } from '../database/index.ts';
import type { Enqueued, JobRow, NewJob } from './queue.ts';

/** The columns of a `JobRow` in a `select` from `jobs j`, for producers that join their own tables. */
export const jobColumns = `j.id, j.queue, j.tenant, j.producer, j.state, j.failure_kind as "failureKind",
  j.failure_message as "failureMessage", j.cancel_requested as "cancelRequested", j.priority,
  j.needs_limits as "needsLimits", j.attempt, j.resets, j.executor_name as "executorName", j.isolation,
  j.timeout_seconds as "timeoutSeconds", j.usage, j.queued_at as "queuedAt", j.available_at as "availableAt",
  j.started_at as "startedAt", j.finished_at as "finishedAt"`;

/** Undefined: no such job. */
export async function findJobRow(database: Executable, id: number): Promise<JobRow | undefined> {
  const [row] = await database.query<JobRow>(
    { name: 'queue_job', text: `select ${jobColumns} from jobs j where j.id = $1` },
    [id],
  );
  return row;
}

/** Attempts after which the job went on, oldest first. The last attempt is in the job's own row. */
export async function pastAttempts(database: Executable, jobId: number): Promise<AttemptView[]> {
  interface Row {
    attempt: number;
    executor: string;
    startedAt: Date;
    endedAt: Date;
    ended: string;
    message: string | null;
  }
  const rows = await database.query<Row>(
    {
      name: 'queue_past_attempts',
      text: `select attempt, coalesce(executor_name, '') as executor, coalesce(started_at, ended_at) as "startedAt",
          ended_at as "endedAt", ended, message
        from past_attempts where job_id = $1 order by attempt`,
    },
    [jobId],
  );
  return rows.map(({ startedAt, endedAt, ...rest }) => ({
    ...rest,
    startedAt: startedAt.toISOString(),
    endedAt: endedAt.toISOString(),
  }));
}

/** Counting further would cost more than anybody learns from it. */
const maxAhead = 10_000;

/** How many jobs of the same lane are claimed before this one, at most 10,000; 0 for a job that does not wait. */
export async function jobsAhead(database: Executable, job: Pick<JobRow, 'id'>): Promise<number> {
  const [row] = await database.query<{ ahead: number }>(
    {
      name: 'queue_jobs_ahead',
      text: `select count(ahead.id)::int as ahead from jobs job cross join lateral (
          select id from jobs other
          where other.queue = job.queue and other.tenant = job.tenant and other.in_lane
            and (not other.returned, -other.priority, other.id) < (not job.returned, -job.priority, job.id)
          limit ${maxAhead}
        ) ahead
        where job.id = $1 and job.in_lane`,
    },
    [job.id],
  );
  return row?.ahead ?? 0;
}

/** The same for a job that was enqueued just now, without counting a deep lane: only jobs of lower priority come after it. */
export async function aheadOfNewJob(
  database: Executable,
  { queue, tenant, priority }: Pick<NewJob, 'queue' | 'tenant' | 'priority'>,
  { id, waitingBefore }: Enqueued,
): Promise<number> {
  if (waitingBefore === 0) return 0;
  const [row] = await database.query<{ lower: number }>(
    {
      name: 'queue_lower_jobs',
      text: `select count(*)::int as lower from (
          select from jobs
          where queue = $1 and tenant = $2 and in_lane and not returned and priority < $3 and id < $4 limit ${maxAhead}
        ) lower`,
    },
    [queue, tenant, priority, id],
  );
  const lower = row?.lower ?? 0;
  if (lower === maxAhead) return jobsAhead(database, { id });
  return Math.min(Math.max(waitingBefore - lower, 0), maxAhead);
}

/** What the queues hold now. Zeros are left out. */
export interface QueueCounts {
  queue: QueueName;
  /** Claimable. */
  waiting: number;
  delayed: number;
  processing: number;
  /** Age of the claimable job that was queued first; null when none is. */
  oldestWaitingSeconds: number | null;
}

export function queueCounts(database: Executable): Promise<QueueCounts[]> {
  return database.query<QueueCounts>({
    name: 'queue_counts',
    text: `select queue, sum(waiting)::int as waiting, sum(delayed)::int as delayed, sum(processing)::int as processing,
        max(oldest)::float8 as "oldestWaitingSeconds"
      from (
        select queue, count(*) as waiting, 0 as delayed, 0 as processing,
          extract(epoch from kiln_now() - min(queued_at)) as oldest
        from jobs where in_lane group by queue
        union all
        select queue, 0, count(*), 0, null from jobs where state = 'queued' and not in_lane group by queue
        union all
        select queue, 0, 0, count(*), null from jobs where state = 'processing' and not in_lane group by queue
      ) counts group by queue order by queue`,
  });
}
