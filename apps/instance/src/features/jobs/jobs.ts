import {
  isEnded,
  type JobList,
  type JobState,
  type JobView,
  type LogEvent,
  type QueueName,
  type SubmitJob,
  type Waiting,
} from '@kiln/protocol';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { Blobs } from '../../blobs/index.ts';
import { createTurns, type Database, sqlState } from '../../database/index.ts';
import type { FollowedEvent, JobEvent, Logs } from '../../logs/index.ts';
import { aheadOfNewJob, jobsAhead, type NewJob, pastAttempts, type Queue } from '../../queue/index.ts';
import type { Accounts, Principal } from '../accounts/index.ts';
import type { Executors } from '../executors/index.ts';
import type { Repositories } from '../repositories/index.ts';
import type { Secrets } from '../secrets/index.ts';
import { type JobRelation, mayChange, maySee } from './access.ts';
import { claimFiles, storeFiles } from './files.ts';
import { hashSubmission, keyReused } from './idempotency.ts';
import { decodeCursor, encodeCursor } from './list-cursor.ts';
import { logSnapshot } from './log-snapshot.ts';
import {
  findByIdempotencyKey,
  findJob,
  type ListedJob,
  listJobs,
  type NewSubmission,
  newRecord,
  producerName,
  storeRecord,
} from './store.ts';
import { checkSubmission } from './submission.ts';
import { jobSummary, jobView, newJobRow } from './views.ts';
import { waitingReason } from './waiting.ts';
import { whileSeen } from './while-seen.ts';

/** The producer `jobs`: jobs that people and programs submit. Who sees and changes which is in access.ts. */
export interface Jobs {
  /**
   * Makes a job. The same submission with the same idempotency key makes none again.
   * @throws ApiError 400 for what is wrong with it, 404 for an unknown repository or revision, 409 for a key that was used otherwise
   */
  submit(principal: Principal, submission: Submission): Promise<{ job: JobView; repeated: boolean }>;
  /** Those that the principal sees, newest first. @throws ApiError 400 `invalid_cursor`, `unknown_namespace` */
  list(principal: Principal, options: ListOptions): Promise<JobList>;
  /** @throws ApiError 404 `unknown_job` */
  get(principal: Principal, id: number): Promise<JobView>;
  /** @throws ApiError 403 `not_your_job`, 404 `unknown_job`, 409 `job_ended` */
  cancel(principal: Principal, id: number): Promise<JobView>;
  /** @throws ApiError 403 `not_your_job`, 404 `unknown_job`, 409 `job_not_ended` */
  retry(principal: Principal, id: number): Promise<JobView>;
  /** The log as it is now, as events. @throws ApiError 404 `unknown_job`, `unknown_attempt` */
  log(
    principal: Principal,
    id: number,
    attempt: number | undefined,
  ): Promise<AsyncIterable<{ event: LogEvent }>>;
  /**
   * The log and what is added to it, until the job has ended or the principal sees it no more.
   * @throws ApiError 404 `unknown_job`, `unknown_attempt`
   */
  followLog(
    principal: Principal,
    id: number,
    options: FollowLogOptions,
  ): Promise<AsyncIterable<FollowedEvent>>;
  /** One entry's output, of the job's last attempt unless another is named. @throws ApiError 404 */
  entryOutput(
    principal: Principal,
    id: number,
    entry: number,
    attempt: number | undefined,
  ): Promise<EntryOutput>;
}

export interface Submission {
  body: SubmitJob;
  idempotencyKey: string | undefined;
  /** The client is gone: fetching the repository is not waited for any more. */
  signal: AbortSignal;
}

export interface ListOptions {
  state?: JobState | undefined;
  queue?: QueueName | undefined;
  /** Only those of this one. */
  namespace?: string | undefined;
  first: number;
  after?: string | undefined;
}

export interface FollowLogOptions {
  attempt?: number | undefined;
  /** `Last-Event-ID`. */
  after?: string | undefined;
  signal: AbortSignal;
}

export interface EntryOutput {
  sizeBytes: number;
  /** Undefined when it was deleted meanwhile. */
  read(range: { start: number; end: number }): Promise<AsyncIterable<Buffer> | undefined>;
}

export interface JobsOptions {
  database: Database;
  blobs: Blobs;
  queue: Queue;
  logs: Logs;
  accounts: Accounts;
  repositories: Pick<Repositories, 'resolve'>;
  executors: Pick<Executors, 'capacity'>;
  secrets: Pick<Secrets, 'requireKeys'>;
  log: Logger;
}

/** Larger records have a transaction of their own: a group of them would be a statement of many megabytes. */
const maxGroupedRecord = 64 * 1024;
/** Each may wait for a lane that somebody holds, with a connection that others need. */
const maxLargeSubmissions = 4;

export function createJobs(options: JobsOptions): Jobs {
  const { database, queue, logs, accounts, executors, repositories, log } = options;
  const largeSubmissions = createTurns(maxLargeSubmissions);

  async function requireJob(principal: Principal, id: number): Promise<ListedJob> {
    const job = await findJob(database, id);
    if (job && maySee(await relationTo(principal, job))) return job;
    throw unknownJob(id);
  }

  /** Whether a principal of earlier still sees a job now. */
  async function stillSees(principal: Principal, id: number): Promise<boolean> {
    const [current, job] = await Promise.all([accounts.current(principal), findJob(database, id)]);
    return current !== undefined && job !== undefined && maySee(await relationTo(current, job));
  }

  async function requireChangeableJob(principal: Principal, id: number): Promise<ListedJob> {
    const job = await requireJob(principal, id);
    if (mayChange(await relationTo(principal, job))) return job;
    throw new ApiError(
      403,
      'not_your_job',
      `Job ${id} is another member's`,
      'Whoever submitted it cancels and retries it, and admins of its organization.',
    );
  }

  async function relationTo(principal: Principal, { tenant, userId }: ListedJob): Promise<JobRelation> {
    const { siteAdmin } = principal;
    const role = siteAdmin ? undefined : await accounts.roleIn(principal, tenant);
    return { siteAdmin, role, submitted: userId === principal.userId };
  }

  async function tenantsToList(
    principal: Principal,
    namespace: string | undefined,
  ): Promise<number[] | undefined> {
    if (namespace !== undefined) return [(await accounts.namespaceFor(principal, namespace)).id];
    return principal.siteAdmin ? undefined : accounts.namespacesOf(principal);
  }

  async function namespaceNames(jobs: readonly ListedJob[]): Promise<(job: ListedJob) => string> {
    const names = await accounts.namespaceNames(jobs.map((job) => job.tenant));
    return (job) => names.get(job.tenant) ?? `#${job.tenant}`;
  }

  async function waitingOf(job: ListedJob): Promise<Waiting | null> {
    if (job.state !== 'queued') return null;
    const [capacity, ahead] = await Promise.all([executors.capacity.now(), jobsAhead(database, job)]);
    return waitingReason(job, { capacity: capacity[job.queue], ahead, now: new Date() });
  }

  async function viewOf(job: ListedJob): Promise<JobView> {
    const [nameOf, waiting, attempts, logEntries] = await Promise.all([
      namespaceNames([job]),
      waitingOf(job),
      job.attempt > 0 ? pastAttempts(database, job.id) : [],
      job.attempt > 0 ? logs.entries(job.id) : [],
    ]);
    return jobView(job, { namespace: nameOf(job), waiting, attempts, logEntries });
  }

  async function repeatOf(
    principal: Principal,
    key: string | undefined,
    bodySha256: Buffer,
  ): Promise<JobView | undefined> {
    if (key === undefined) return undefined;
    const found = await findByIdempotencyKey(database, principal.userId, key);
    if (!found) return undefined;
    if (!found.bodySha256.equals(bodySha256)) throw keyReused(key, found.jobId);
    return viewOf(await requireJob(principal, found.jobId));
  }

  async function createJob(
    principal: Principal,
    submission: Submission,
    bodySha256: Buffer,
  ): Promise<JobView> {
    const { body, idempotencyKey, signal } = submission;
    const checked = checkSubmission(body);
    const namespace = await accounts.namespaceFor(principal, checked.namespace);
    await options.secrets.requireKeys('JOBS', checked.spec.secrets ?? []);
    const resolved =
      checked.repository === null
        ? undefined
        : await repositories.resolve(checked.repository, checked.revision ?? undefined, signal);
    const files = await storeFiles(options, checked.files);
    const { queue: queueName, priority, needsLimits, timeoutSeconds } = checked;
    const job: NewJob = {
      queue: queueName,
      tenant: namespace.id,
      producer: producerName,
      priority,
      needsLimits,
      timeoutSeconds,
      repositoryName: checked.repository,
    };
    const submitted: NewSubmission = {
      userId: principal.userId,
      repository: checked.repository,
      revision: resolved?.revision ?? null,
      commit: resolved?.commit ?? null,
      spec: checked.spec,
      files,
      notices: checked.notices,
      idempotencyKey,
      bodySha256,
    };
    const record = newRecord(submitted);
    if (record.json.length > maxGroupedRecord || files.some((file) => 'key' in file)) {
      const id = await largeSubmissions.take(() =>
        database.transaction(async (transaction) => {
          const jobId = await queue.enqueue(transaction, job);
          await storeRecord(transaction, jobId, record);
          await claimFiles(transaction, jobId, files);
          return jobId;
        }),
      );
      await keepIfAllowed(id);
      return viewOf(await requireJob(principal, id));
    }
    const enqueued = await queue.enqueueWithRecord(job, record);
    await keepIfAllowed(enqueued.id);
    const [capacity, ahead] = await Promise.all([
      executors.capacity.recent(),
      aheadOfNewJob(database, job, enqueued),
    ]);
    const row = newJobRow(job, submitted, enqueued);
    const waiting = waitingReason(row, { capacity: capacity[job.queue], ahead, now: new Date() });
    return jobView(row, { namespace: namespace.name, waiting, attempts: [], logEntries: [] });

    /** Since it was checked, which may be long ago, its sender may have left the namespace, or that been deleted. */
    async function keepIfAllowed(jobId: number): Promise<void> {
      log.info({ jobId, user: principal.name }, 'a job was submitted');
      if (await accounts.mayUse(principal, namespace.id)) return;
      await queue.cancel(jobId);
      throw new ApiError(
        400,
        'unknown_namespace',
        `There is no namespace ${JSON.stringify(namespace.name)} any more that user "${principal.name}" may use`,
        `Job ${jobId} was canceled.`,
      );
    }
  }

  return {
    async submit(principal, submission) {
      const bodySha256 = hashSubmission(submission.body);
      const repeated = await repeatOf(principal, submission.idempotencyKey, bodySha256);
      if (repeated) return { job: repeated, repeated: true };
      try {
        return { job: await createJob(principal, submission, bodySha256), repeated: false };
      } catch (error) {
        // Two requests with the same key at the same time: the other one made the job.
        if (sqlState(error) !== '23505') throw error;
        const other = await repeatOf(principal, submission.idempotencyKey, bodySha256);
        if (!other) throw error;
        return { job: other, repeated: true };
      }
    },

    async list(principal, { state, queue: queueName, namespace, first, after }) {
      const jobs = await listJobs(database, {
        state,
        queue: queueName,
        tenants: await tenantsToList(principal, namespace),
        before: after === undefined ? undefined : decodeCursor(after),
        limit: first + 1,
      });
      const page = jobs.slice(0, first);
      const nameOf = await namespaceNames(page);
      const last = page.at(-1);
      return {
        jobs: page.map((job) => jobSummary(job, nameOf(job))),
        nextCursor: jobs.length > first && last ? encodeCursor(last.id) : null,
      };
    },

    async get(principal, id) {
      return viewOf(await requireJob(principal, id));
    },

    async cancel(principal, id) {
      await requireChangeableJob(principal, id);
      const outcome = await queue.cancel(id);
      if (outcome === 'unknown') throw unknownJob(id);
      const job = await requireJob(principal, id);
      if (outcome === 'ended') {
        throw new ApiError(
          409,
          'job_ended',
          `Job ${id} has ended already: ${job.state}`,
          `Nothing is left to cancel. To run it again: kiln job retry ${id}`,
        );
      }
      log.info({ jobId: id, user: principal.name, outcome }, 'a job was canceled');
      return viewOf(job);
    },

    async retry(principal, id) {
      const before = await requireChangeableJob(principal, id);
      const outcome = await queue.retry(id);
      if (outcome === 'unknown') throw unknownJob(id);
      if (outcome === 'not-ended') {
        throw new ApiError(
          409,
          'job_not_ended',
          `Job ${id} has not ended: ${before.state}`,
          'Cancel it first, or wait until it has ended.',
        );
      }
      log.info({ jobId: id, user: principal.name }, 'a job was queued again');
      return viewOf(await requireJob(principal, id));
    },

    async log(principal, id, attempt) {
      const job = await requireJob(principal, id);
      requireAttempt(job, attempt);
      return logSnapshot(logs, {
        jobId: id,
        attempt,
        job: jobEvent(job, await waitingOf(job)),
        ended: isEnded(job.state),
      });
    },

    async followLog(principal, id, { attempt, after, signal }) {
      requireAttempt(await requireJob(principal, id), attempt);
      const events = logs.follow({
        jobId: id,
        attempt,
        after,
        signal,
        async job() {
          const job = await findJob(database, id);
          return job && jobEvent(job, await waitingOf(job));
        },
      });
      return whileSeen(events, () => stillSees(principal, id));
    },

    async entryOutput(principal, id, entry, attempt) {
      const job = await requireJob(principal, id);
      requireAttempt(job, attempt);
      const name = { jobId: id, attempt: attempt ?? job.attempt, entry };
      const found = await logs.output(name);
      if (!found) {
        throw new ApiError(
          404,
          'unknown_entry',
          `Attempt ${name.attempt} of job ${id} has no log entry ${entry}`,
        );
      }
      return {
        sizeBytes: found.sizeBytes,
        read: async (range) => (await logs.output(name, range))?.body,
      };
    },
  };
}

function jobEvent(job: ListedJob, waiting: Waiting | null): JobEvent {
  return {
    state: job.state,
    attempt: job.attempt,
    executor: job.executorName,
    failureMessage: job.failureMessage,
    waiting,
  };
}

/** An attempt to come is not known yet, but following a job that waits for it is fine. */
function requireAttempt(job: ListedJob, attempt: number | undefined): void {
  if (attempt === undefined || attempt <= job.attempt + 1) return;
  throw new ApiError(404, 'unknown_attempt', `Job ${job.id} has had ${job.attempt} attempts`);
}

function unknownJob(id: number): ApiError {
  return new ApiError(404, 'unknown_job', `There is no job ${id}`);
}
