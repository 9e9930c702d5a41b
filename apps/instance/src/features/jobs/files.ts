import { randomUUID } from 'node:crypto';
import type { Blobs } from '../../blobs/index.ts';
import type { Database, Transaction } from '../../database/index.ts';

/** A submitted file: a small text is kept with its job, anything else as a blob whose key is `<a>/<b>`. */
export type StoredFile = { path: string; text: string } | { path: string; key: string; bytes: number };

/** Contents up to this stay in the job's record; larger ones would make reading it slow. */
const maxInlineBytes = 64 * 1024;

/** Each waits for the disk, or for a server. */
const parallelUploads = 8;

/** Where a file's blob is; `key` as in `/.executors/files/jobs/<key>`. */
export function blobKey(key: string): string {
  return `files/${key}`;
}

/**
 * Decides which files are kept inline and stores the others as blobs, each recorded in `submitted_files` before it is
 * written. They belong to no job until `claimFiles`.
 */
export async function storeFiles(
  { database, blobs }: { database: Database; blobs: Blobs },
  files: ReadonlyMap<string, Buffer>,
): Promise<StoredFile[]> {
  const directory = randomUUID();
  const stored: StoredFile[] = [];
  const uploads: { key: string; content: Buffer }[] = [];
  for (const [path, content] of files) {
    const text = inlineText(content);
    if (text !== undefined) {
      stored.push({ path, text });
      continue;
    }
    const key = `${directory}/${uploads.length}`;
    uploads.push({ key, content });
    stored.push({ path, key, bytes: content.length });
  }
  if (uploads.length > 0) {
    await database.query('insert into submitted_files (key) select unnest($1::text[])', [
      uploads.map((upload) => upload.key),
    ]);
    for (let start = 0; start < uploads.length; start += parallelUploads) {
      const some = uploads.slice(start, start + parallelUploads);
      await Promise.all(some.map(({ key, content }) => blobs.put(blobKey(key), pieces(content))));
    }
  }
  return stored;
}

/** Gives stored blobs to the job, in the transaction that makes it. */
export async function claimFiles(
  transaction: Transaction,
  jobId: number,
  files: readonly StoredFile[],
): Promise<void> {
  const keys = files.flatMap((file) => ('key' in file ? [file.key] : []));
  if (keys.length === 0) return;
  const claimed = await transaction.query(
    'update submitted_files set job_id = $1 where key = any($2::text[]) and job_id is null returning key',
    [jobId, keys],
  );
  if (claimed.length !== keys.length) {
    throw new Error(
      'files of a submission were deleted before the submission was complete: it took too long',
    );
  }
}

/** Longer than any submission takes, from its first blob to its commit. */
const orphanAgeSeconds = 3600;
const orphansPerBatch = 100;
const isOrphan = `job_id is null and created_at < now() - make_interval(secs => ${orphanAgeSeconds})`;

/** Blobs that `deleteOrphanFiles` has yet to delete. */
export async function countOrphanFiles(database: Database): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    `select count(*) from submitted_files where ${isOrphan}`,
  );
  return row?.count ?? 0;
}

/** Deletes blobs that belong to no job (any more): leftovers of broken submissions, and files of deleted jobs. */
export async function deleteOrphanFiles(
  { database, blobs }: { database: Database; blobs: Blobs },
  signal: AbortSignal,
): Promise<number> {
  let deleted = 0;
  while (!signal.aborted) {
    const orphans = await database.query<{ key: string }>(
      `select key from submitted_files where ${isOrphan} order by created_at limit $1`,
      [orphansPerBatch],
    );
    for (const { key } of orphans) await blobs.delete(blobKey(key));
    // After the blobs: a crash in between leaves rows that the next run finds again.
    await database.query('delete from submitted_files where key = any($1::text[])', [
      orphans.map((orphan) => orphan.key),
    ]);
    deleted += orphans.length;
    if (orphans.length < orphansPerBatch) break;
  }
  return deleted;
}

/** The content as text that the database can keep, or undefined. */
function inlineText(content: Buffer): string | undefined {
  if (content.length > maxInlineBytes || content.includes(0)) return undefined;
  const text = content.toString('utf8');
  // Bytes that are not UTF-8 do not come back the same.
  return Buffer.from(text, 'utf8').equals(content) ? text : undefined;
}

async function* pieces(content: Buffer): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < content.length; start += maxInlineBytes) {
    yield content.subarray(start, start + maxInlineBytes);
  }
}
