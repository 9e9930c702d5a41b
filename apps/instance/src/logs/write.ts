import { createHash, type Hash } from 'node:crypto';
import type { Executable, Transaction } from '../database/index.ts';
import { type EntryHead, type EntryName, type EntryRow, entryColumns, maxChunkBytes } from './entries.ts';
import { type LogStore, readStored } from './read.ts';

/** The attempt that writes. The caller has made sure, with the queue, that it is the current one. */
export interface LogWriter {
  jobId: number;
  attempt: number;
}

/** An entry's whole output, readable more than once. */
export interface Output {
  bytes: number;
  /** The bytes from `start` on, in pieces of at most 256 KiB. */
  read(start?: number): AsyncIterable<Buffer>;
}

/** `unknown`: no such entry. `stale`: a newer attempt has logged already. */
export type WriteRefusal = { refused: 'unknown' | 'stale' };

/** Begins an entry. @returns its number */
export function addEntry(
  store: LogStore,
  writer: LogWriter,
  head: EntryHead,
  output: Output,
  maxBytes: number,
): Promise<{ entry: number } | WriteRefusal> {
  if (output.bytes === 0) return insertEntry(store.database, writer, head);
  return store.database.transaction(async (transaction) => {
    const added = await insertEntry(transaction, writer, head);
    if ('refused' in added) return added;
    await replaceOutput(store, transaction, { ...writer, ...added }, output, maxBytes);
    return added;
  });
}

/**
 * Replaces an entry with what the executor says it is now. Executors that know no appends send the whole output each
 * second; only what follows the stored part is written, and the stored part is recognised by its hash, not read.
 */
export function updateEntry(
  store: LogStore,
  name: EntryName,
  head: EntryHead,
  output: Output,
  maxBytes: number,
): Promise<{ entry: number } | WriteRefusal> {
  return store.database.transaction(async (transaction) => {
    const refusal = await replaceOutput(store, transaction, name, output, maxBytes);
    if (refusal) return refusal;
    await transaction.query(
      {
        name: 'log_update_head',
        text: `update log_entries set key = $4, command = $5, started_at = $6, exit_code = $7, duration_ms = $8
          where job_id = $1 and attempt = $2 and entry = $3`,
      },
      [name.jobId, name.attempt, name.entry, ...headValues(head)],
    );
    return { entry: name.entry };
  });
}

export interface Append {
  /** Where `data` belongs in the entry's output. */
  offset: number;
  data: Buffer;
  exitCode?: number | undefined;
  durationMs?: number | undefined;
}

/**
 * Adds bytes at the end of an entry. Bytes that are there already, unchanged, are accepted again (the reply was lost).
 * @returns `mismatch`: the offset, or the bytes at it, do not fit; the executor goes on at that offset
 */
export function appendOutput(
  store: LogStore,
  name: EntryName,
  append: Append,
  maxBytes: number,
): Promise<{ nextOffset: number } | { mismatch: number } | WriteRefusal> {
  return store.database.transaction(async (transaction) => {
    const locked = await lockEntry(transaction, name);
    if ('refused' in locked) return locked;
    const { row } = locked;
    const { offset, data } = append;
    const end = offset + data.length;
    let kept = 0;
    let dropped = row.dropped;
    if (offset !== row.receivedBytes || data.length === 0) {
      if (end > row.receivedBytes || !(await isStored(store, transaction, row, offset, data))) {
        return { mismatch: row.receivedBytes };
      }
    } else if (!row.dropped) {
      kept = Math.min(data.length, Math.max(0, maxBytes - locked.keptBytes));
      dropped = kept < data.length;
      await insertChunks(transaction, name, row.bytes, data.subarray(0, kept));
    }
    const received = Math.max(row.receivedBytes, end);
    await transaction.query(
      {
        name: 'log_append',
        text: `with log as (
            update job_logs set kept_bytes = kept_bytes + $4, settled = false, written_at = now() where job_id = $1
          )
          update log_entries set received_bytes = $5, bytes = bytes + $4, dropped = $6,
            sha256 = case when $4 = 0 then sha256 end,
            exit_code = coalesce($7, exit_code), duration_ms = coalesce($8, duration_ms)
          where job_id = $1 and attempt = $2 and entry = $3`,
      },
      [
        name.jobId,
        name.attempt,
        name.entry,
        kept,
        received,
        dropped,
        append.exitCode ?? null,
        append.durationMs ?? null,
      ],
    );
    return { nextOffset: received };
  });
}

async function insertEntry(
  database: Executable,
  { jobId, attempt }: LogWriter,
  head: EntryHead,
): Promise<{ entry: number } | WriteRefusal> {
  const [added] = await database.query<{ entry: number }>(
    {
      name: 'log_add_entry',
      text: `with log as (
          insert into job_logs (job_id, attempt, entries) values ($1, $2, 1)
          on conflict (job_id) do update set
            attempt = excluded.attempt,
            entries = case when job_logs.attempt = excluded.attempt then job_logs.entries + 1 else 1 end,
            kept_bytes = case when job_logs.attempt = excluded.attempt then job_logs.kept_bytes else 0 end,
            settled = false,
            written_at = now()
          where job_logs.attempt <= excluded.attempt
          returning entries
        )
        insert into log_entries (job_id, attempt, entry, key, command, started_at, exit_code, duration_ms)
        select $1, $2, entries, $3, $4, $5, $6, $7 from log
        returning entry`,
    },
    [jobId, attempt, ...headValues(head)],
  );
  return added ?? { refused: 'stale' };
}

async function replaceOutput(
  store: LogStore,
  transaction: Transaction,
  name: EntryName,
  output: Output,
  maxBytes: number,
): Promise<WriteRefusal | undefined> {
  const locked = await lockEntry(transaction, name);
  if ('refused' in locked) return locked;
  let { row, keptBytes } = locked;
  let hash = await hashPrefix(output, row.bytes);
  if (!hash || !(await storedHash(store, transaction, row)).equals(hash.copy().digest())) {
    await transaction.query(
      {
        name: 'log_clear_entry',
        text: 'delete from log_chunks where job_id = $1 and attempt = $2 and entry = $3',
      },
      [name.jobId, name.attempt, name.entry],
    );
    keptBytes -= row.bytes;
    row = {
      ...row,
      bytes: 0,
      dropped: false,
      revision: row.revision + 1,
      blobKey: null,
      blobOffset: null,
      archivedBytes: 0,
    };
    hash = createHash('sha256');
  }
  const room = row.dropped ? 0 : Math.max(0, maxBytes - keptBytes);
  const end = Math.min(output.bytes, row.bytes + room);
  let bytes = row.bytes;
  for await (const piece of output.read(bytes)) {
    const kept = piece.subarray(0, end - bytes);
    if (kept.length === 0) break;
    hash.update(kept);
    await insertChunks(transaction, name, bytes, kept);
    bytes += kept.length;
  }
  await transaction.query(
    {
      name: 'log_replace_output',
      text: `with log as (
          update job_logs set kept_bytes = $4, settled = false, written_at = now() where job_id = $1
        )
        update log_entries set received_bytes = $5, bytes = $6, dropped = $7, sha256 = $8, revision = $9,
          blob_key = $10, blob_offset = $11, archived_bytes = $12
        where job_id = $1 and attempt = $2 and entry = $3`,
    },
    [
      name.jobId,
      name.attempt,
      name.entry,
      keptBytes + bytes - row.bytes,
      output.bytes,
      bytes,
      bytes < output.bytes,
      hash.digest(),
      row.revision,
      row.blobKey,
      row.blobOffset,
      row.archivedBytes,
    ],
  );
  return undefined;
}

/** Locks the job's log against other writers, so that each of them sees what the one before it stored. */
async function lockEntry(
  transaction: Transaction,
  name: EntryName,
): Promise<{ row: EntryRow; keptBytes: number } | WriteRefusal> {
  const [log] = await transaction.query<{ attempt: number; keptBytes: number }>(
    {
      name: 'log_lock',
      text: 'select attempt, kept_bytes as "keptBytes" from job_logs where job_id = $1 for update',
    },
    [name.jobId],
  );
  if (!log || log.attempt < name.attempt) return { refused: 'unknown' };
  if (log.attempt > name.attempt) return { refused: 'stale' };
  const [row] = await transaction.query<EntryRow>(
    {
      name: 'log_entry',
      text: `select ${entryColumns} from log_entries e where job_id = $1 and attempt = $2 and entry = $3`,
    },
    [name.jobId, name.attempt, name.entry],
  );
  return row ? { row, keptBytes: log.keptBytes } : { refused: 'unknown' };
}

async function insertChunks(
  transaction: Transaction,
  name: EntryName,
  start: number,
  data: Buffer,
): Promise<void> {
  for (let at = 0; at < data.length; at += maxChunkBytes) {
    await transaction.query(
      {
        name: 'log_insert_chunk',
        text: 'insert into log_chunks (job_id, attempt, entry, start, data) values ($1, $2, $3, $4, $5)',
      },
      [name.jobId, name.attempt, name.entry, start + at, data.subarray(at, at + maxChunkBytes)],
    );
  }
}

/** The hash of the first `length` bytes, to be continued; undefined when there are fewer. */
async function hashPrefix(output: Output, length: number): Promise<Hash | undefined> {
  if (output.bytes < length) return undefined;
  const hash = createHash('sha256');
  let left = length;
  if (left === 0) return hash;
  for await (const piece of output.read()) {
    hash.update(piece.subarray(0, left));
    left -= Math.min(left, piece.length);
    if (left === 0) break;
  }
  return hash;
}

async function storedHash(store: LogStore, transaction: Transaction, row: EntryRow): Promise<Buffer> {
  if (row.sha256) return row.sha256;
  const hash = createHash('sha256');
  for await (const piece of readStored({ ...store, database: transaction }, row, 0, row.bytes))
    hash.update(piece);
  return hash.digest();
}

/** Whether `data` is what was received at `offset`. Of dropped output nothing is left to compare with. */
async function isStored(
  store: LogStore,
  transaction: Transaction,
  row: EntryRow,
  offset: number,
  data: Buffer,
): Promise<boolean> {
  let at = offset;
  const end = Math.min(offset + data.length, row.bytes);
  for await (const piece of readStored({ ...store, database: transaction }, row, offset, end)) {
    if (!piece.equals(data.subarray(at - offset, at - offset + piece.length))) return false;
    at += piece.length;
  }
  return true;
}

function headValues(head: EntryHead): unknown[] {
  return [
    head.key,
    JSON.stringify(head.command),
    head.startedAt,
    head.exitCode ?? null,
    head.durationMs ?? null,
  ];
}
