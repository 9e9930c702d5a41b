import type { JobState, QueueName } from '@kiln/protocol';
import pg from 'pg';
import type { Database, Executable, Transaction } from '../../database/index.ts';
import { type JobRow, jobColumns, type NewRecord } from '../../queue/index.ts';
import type { StoredFile } from './files.ts';
import type { JobSpec } from './submission.ts';

export const producerName = 'jobs';

/** The record of a submitted job, beside the queue's row. */
export interface SubmittedJob {
  jobId: number;
  repository: string | null;
  revision: string | null;
  /** Hex; null without a repository. */
  commit: string | null;
  spec: JobSpec;
  files: StoredFile[];
  notices: string[];
  /** Who submitted it; null: deleted since. */
  userId: number | null;
}

/** A job with its record, files left out: they may be megabytes, and views do not show them. */
export type ListedJob = JobRow & Omit<SubmittedJob, 'files'>;

export interface ListFilter {
  state?: JobState | undefined;
  queue?: QueueName | undefined;
  /** Only jobs of these namespaces. */
  tenants?: readonly number[] | undefined;
  /** Only jobs with smaller ids. */
  before?: number | undefined;
  limit: number;
}

export interface NewSubmission extends Omit<SubmittedJob, 'jobId'> {
  userId: number;
  idempotencyKey: string | undefined;
  bodySha256: Buffer;
}

const insertRecord = {
  name: 'submitted_job',
  text: `insert into submitted_jobs
      (job_id, user_id, repository, revision, commit, spec, files, notices, idempotency_key, body_sha256)
    select call.id, given.*
    from call cross join lateral jsonb_to_record(call.record) as given (user_id bigint, repository text, revision text,
      commit text, spec jsonb, files jsonb, notices text[], idempotency_key text, body_sha256 bytea)`,
};

/** The record of a submission as the queue inserts it with the job. */
export function newRecord(submission: NewSubmission): NewRecord {
  const { userId, repository, revision, commit, spec, files, notices, idempotencyKey, bodySha256 } =
    submission;
  return {
    insert: insertRecord,
    json: JSON.stringify({
      user_id: userId,
      repository,
      revision,
      commit,
      spec,
      files,
      notices,
      idempotency_key: idempotencyKey ?? null,
      body_sha256: `\\x${bodySha256.toString('hex')}`,
    }),
  };
}

/** The same in a transaction, after the job. */
export async function storeRecord(
  transaction: Transaction,
  jobId: number,
  { insert, json }: NewRecord,
): Promise<void> {
  await transaction.query(
    {
      name: 'jobs_insert_record',
      text: `with call as (select $1::bigint as id, $2::jsonb as record) ${insert.text}`,
    },
    [jobId, json],
  );
}

/** What a key of this user was used for. */
export async function findByIdempotencyKey(
  database: Executable,
  userId: number,
  key: string,
): Promise<{ jobId: number; bodySha256: Buffer } | undefined> {
  const [row] = await database.query<{ jobId: number; bodySha256: Buffer }>(
    `select job_id as "jobId", body_sha256 as "bodySha256" from submitted_jobs
     where user_id = $1 and idempotency_key = $2`,
    [userId, key],
  );
  return row;
}

const recordColumns = `s.job_id as "jobId", s.repository, s.revision, s.commit, s.spec, s.notices, s.user_id as "userId"`;

export async function findJob(database: Executable, id: number): Promise<ListedJob | undefined> {
  const [row] = await database.query<ListedJob>(
    {
      name: 'jobs_find',
      text: `select ${jobColumns}, ${recordColumns} from jobs j join submitted_jobs s on s.job_id = j.id where j.id = $1`,
    },
    [id],
  );
  return row;
}

/** Newest first. */
export function listJobs(database: Executable, filter: ListFilter): Promise<ListedJob[]> {
  const { text, values } = listStatement(filter);
  return database.query<ListedJob>(text, values);
}

/**
 * State and limit stand in the text, not in parameters: states have indexes of their own, and a plan for any state
 * would read the history for the few jobs that are queued. Of several namespaces the newest of each are found by
 * themselves: one walk over all would pass over the jobs of everybody else.
 */
export function listStatement(filter: ListFilter): { text: string; values: unknown[] } {
  const values: unknown[] = [];
  const conditions = [
    filter.state && `j.state = ${pg.escapeLiteral(filter.state)}`,
    condition('j.queue =', filter.queue),
    condition('j.id <', filter.before),
  ].filter((text) => text !== undefined);
  function condition(comparison: string, value: unknown): string | undefined {
    return value === undefined ? undefined : `${comparison} $${values.push(value)}`;
  }
  if (filter.tenants) conditions.push('j.tenant = of.tenant');
  const limit = Math.trunc(filter.limit);
  const page = `select ${jobColumns}, ${recordColumns} from jobs j join submitted_jobs s on s.job_id = j.id
    ${conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`}
    order by j.id desc limit ${limit}`;
  if (!filter.tenants) return { text: page, values };
  const text = `select page.* from unnest($${values.push(filter.tenants)}::bigint[]) as of (tenant)
    cross join lateral (${page}) page order by page.id desc limit ${limit}`;
  return { text, values };
}

/** Whole records, for documents; jobs that are gone are absent. */
export function findRecords(database: Database, jobIds: readonly number[]): Promise<SubmittedJob[]> {
  return database.query<SubmittedJob>(
    {
      name: 'jobs_find_records',
      text: `select ${recordColumns}, s.files from submitted_jobs s where s.job_id = any($1::bigint[])`,
    },
    [jobIds],
  );
}

/** Whether a file is one of this job's. */
export async function hasFile(database: Database, key: string, jobId: number | undefined): Promise<boolean> {
  const [row] = await database.query(
    'select 1 from submitted_files where key = $1 and job_id is not null and ($2::bigint is null or job_id = $2)',
    [key, jobId ?? null],
  );
  return row !== undefined;
}
