import { createHash } from 'node:crypto';
import type { EntryRow } from './entries.ts';
import { type LogStore, readEntries, readStored } from './read.ts';

/** Smaller logs stay where they are: as rows they cost less than as a file or an object each. */
const minArchiveBytes = 64 * 1024;

/**
 * Of jobs that have ended, those whose log is worth archiving. The others are settled here, in one statement: most
 * jobs log little, and thousands of them may end in a second.
 */
export async function largeLogs({ database }: LogStore, jobIds: readonly number[]): Promise<number[]> {
  const rows = await database.query<{ jobId: number }>(
    {
      name: 'log_settle_small',
      text: `with log as materialized (
          select job_id, written_at, coalesce((
            select sum(bytes) from log_entries e where e.job_id = l.job_id and archived_bytes = 0
          ), 0) as bytes
          from job_logs l where job_id = any($1) and not settled
        ), small as (
          update job_logs l set settled = true
          from log where l.job_id = log.job_id and l.written_at = log.written_at and log.bytes < ${minArchiveBytes}
        )
        select job_id as "jobId" from log where bytes >= ${minArchiveBytes} order by job_id`,
    },
    [[...jobIds]],
  );
  return rows.map(({ jobId }) => jobId);
}

/**
 * Moves the output of a job from rows into one blob; the entries' rows are its index. Safe at any time and in several
 * instances at once: when the log changes meanwhile, the blob is thrown away and the rows stay.
 * @returns whether it was moved
 */
export async function archiveLog(store: LogStore, jobId: number): Promise<boolean> {
  const { database, blobs } = store;
  const rows = (await readEntries(database, jobId)).filter((row) => row.archivedBytes === 0 && row.bytes > 0);
  if (rows.length === 0) return false;
  const key = blobKey(jobId);
  // First, so that a blob is known whatever happens to this process while it writes.
  await database.query('insert into log_blobs (blob_key, job_id) values ($1, $2)', [key, jobId]);
  const placed: { row: EntryRow; offset: number; sha256: Buffer }[] = [];
  try {
    await blobs.put(key, joined(store, rows, placed));
  } catch (error) {
    await deleteBlob(store, key);
    throw error;
  }
  const moved = await database.transaction(async (transaction) => {
    await transaction.query('select from job_logs where job_id = $1 for update', [jobId]);
    const now = await readEntries(transaction, jobId);
    if (!placed.every(({ row }) => now.some((other) => isUnchanged(row, other)))) return false;
    for (const { row, offset, sha256 } of placed) {
      const name = [row.jobId, row.attempt, row.entry];
      await transaction.query(
        `update log_entries set blob_key = $4, blob_offset = $5, archived_bytes = bytes, sha256 = $6
          where job_id = $1 and attempt = $2 and entry = $3`,
        [...name, key, offset, sha256],
      );
      await transaction.query(
        'delete from log_chunks where job_id = $1 and attempt = $2 and entry = $3',
        name,
      );
    }
    await transaction.query('update job_logs set settled = true where job_id = $1', [jobId]);
    return true;
  });
  if (!moved) await deleteBlob(store, key);
  return moved;
}

/** Deletes the logs of jobs, blobs included. */
export async function deleteLogs(store: LogStore, jobIds: readonly number[]): Promise<void> {
  const ids = [...jobIds];
  await store.database.transaction(async (transaction) => {
    await transaction.query('select from job_logs where job_id = any($1) order by job_id for update', [ids]);
    await transaction.query('delete from log_chunks where job_id = any($1)', [ids]);
    await transaction.query('delete from log_entries where job_id = any($1)', [ids]);
    await transaction.query('delete from job_logs where job_id = any($1)', [ids]);
  });
  const blobs = await store.database.query<{ key: string }>(
    'select blob_key as key from log_blobs where job_id = any($1)',
    [ids],
  );
  for (const { key } of blobs) await deleteBlob(store, key);
}

/** Jobs whose log is to be archived though nobody said that they ended: it was not written for an hour. */
export async function idleLogs(store: LogStore, limit: number): Promise<number[]> {
  const rows = await store.database.query<{ jobId: number }>(
    `select job_id as "jobId" from job_logs
      where not settled and written_at < now() - interval '1 hour' order by job_id limit $1`,
    [limit],
  );
  return rows.map(({ jobId }) => jobId);
}

/** For metrics: logs that wait to be archived though they were not written for an hour, and blobs without a log. */
export async function countLeftovers(
  store: LogStore,
): Promise<{ logsToArchive: number; forgottenBlobs: number }> {
  const [counts] = await store.database.query<{ logsToArchive: number; forgottenBlobs: number }>({
    name: 'log_leftovers',
    text: `select
        (select count(*) from job_logs where not settled and written_at < now() - interval '1 hour') as "logsToArchive",
        (select count(*) from log_blobs b
          where not exists (select from job_logs l where l.job_id = b.job_id)) as "forgottenBlobs"`,
  });
  return counts ?? { logsToArchive: 0, forgottenBlobs: 0 };
}

/** Blobs of logs that were deleted while the process that deleted them was killed. */
export async function deleteForgottenBlobs(store: LogStore): Promise<void> {
  const rows = await store.database.query<{ key: string }>(
    `select blob_key as key from log_blobs b
      where not exists (select from job_logs l where l.job_id = b.job_id) limit 100`,
  );
  for (const { key } of rows) await deleteBlob(store, key);
}

async function deleteBlob({ database, blobs }: LogStore, key: string): Promise<void> {
  await blobs.delete(key);
  await database.query('delete from log_blobs where blob_key = $1', [key]);
}

/** Spread over 1,000 directories; unique, because several instances may archive one job at the same time. */
function blobKey(jobId: number): string {
  return `logs/${String(jobId % 1000).padStart(3, '0')}/${jobId}-${crypto.randomUUID()}`;
}

async function* joined(
  store: LogStore,
  rows: readonly EntryRow[],
  placed: { row: EntryRow; offset: number; sha256: Buffer }[],
): AsyncGenerator<Buffer> {
  let offset = 0;
  for (const row of rows) {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of readStored(store, row, 0, row.bytes)) {
      hash.update(piece);
      bytes += piece.length;
      yield piece;
    }
    if (bytes !== row.bytes) throw new LogChanged(row.jobId);
    placed.push({ row, offset, sha256: hash.digest() });
    offset += bytes;
  }
}

/** The log was changed, archived or deleted while it was being archived. */
export class LogChanged extends Error {
  override readonly name = 'LogChanged';

  constructor(jobId: number) {
    super(`The log of job ${jobId} changed while it was being archived`);
  }
}

function isUnchanged(row: EntryRow, other: EntryRow): boolean {
  return (
    row.attempt === other.attempt &&
    row.entry === other.entry &&
    row.bytes === other.bytes &&
    row.revision === other.revision &&
    other.archivedBytes === 0
  );
}
