import type { Blobs } from '../blobs/index.ts';
import type { Database, Executable } from '../database/index.ts';
import {
  droppedMarker,
  type EntryName,
  type EntryRow,
  entryColumns,
  maxChunkBytes,
  readableBytes,
} from './entries.ts';

/** Where logs are kept. */
export interface LogStore {
  database: Database;
  blobs: Blobs;
}

/** Bytes of an entry's output from `start` up to but without `end`. */
export interface OutputRange {
  start: number;
  end: number;
}

/** Chunks are read this many at a time: 2 MiB at most. */
const chunksPerRead = 8;

/** Entries in the order of the log, from one position on. */
export function readEntries(
  database: Executable,
  jobId: number,
  from: { attempt: number; entry: number } = { attempt: 0, entry: 0 },
): Promise<EntryRow[]> {
  return database.query<EntryRow>(
    {
      name: 'log_entries',
      text: `select ${entryColumns} from log_entries e
        where job_id = $1 and (attempt, entry) >= ($2, $3) order by attempt, entry`,
    },
    [jobId, from.attempt, from.entry],
  );
}

export async function readEntry(database: Executable, name: EntryName): Promise<EntryRow | undefined> {
  const [row] = await database.query<EntryRow>(
    {
      name: 'log_entry',
      text: `select ${entryColumns} from log_entries e where job_id = $1 and attempt = $2 and entry = $3`,
    },
    [name.jobId, name.attempt, name.entry],
  );
  return row;
}

/**
 * An entry's output as a reader sees it: what is stored, then the marker when output was dropped. Goes on when the
 * entry is archived meanwhile; ends early when its output is replaced by a shorter one or deleted.
 */
export async function* readOutput(
  store: LogStore,
  row: EntryRow,
  range: OutputRange = { start: 0, end: readableBytes(row) },
): AsyncGenerator<Buffer> {
  let at = range.start;
  const storedEnd = Math.min(range.end, row.bytes);
  let current: EntryRow | undefined = row;
  while (current && current.revision === row.revision && at < storedEnd) {
    const before = at;
    for await (const piece of readStored(store, current, at, storedEnd)) {
      at += piece.length;
      yield piece;
    }
    if (at >= storedEnd) break;
    // The chunks went into a blob since the row was read. A second look that finds nothing new means they are gone.
    const again: EntryRow | undefined = await readEntry(store.database, row);
    if (at === before && again?.archivedBytes === current.archivedBytes) return;
    current = again;
  }
  if (at < storedEnd || !row.dropped) return;
  const marker = droppedMarker.subarray(Math.max(0, at - row.bytes), Math.max(0, range.end - row.bytes));
  if (marker.length > 0) yield marker;
}

/** Stored bytes without a gap: from the blob, then from chunks; ends where they end. */
export async function* readStored(
  store: { database: Executable; blobs: Blobs },
  row: EntryRow,
  start: number,
  end: number,
): AsyncGenerator<Buffer> {
  let at = start;
  if (at < row.archivedBytes && at < end && row.blobKey !== null && row.blobOffset !== null) {
    const blobEnd = Math.min(end, row.archivedBytes);
    const blob = await store.blobs.get(row.blobKey, {
      start: row.blobOffset + at,
      end: row.blobOffset + blobEnd,
    });
    if (!blob) return;
    for await (const piece of blob.body) {
      at += piece.length;
      yield Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    }
    if (at < blobEnd) return;
  }
  while (at < end) {
    const chunks = await store.database.query<{ start: number; data: Buffer }>(
      {
        name: 'log_chunks',
        text: `select start, data from log_chunks
          where job_id = $1 and attempt = $2 and entry = $3
            and start > $4::bigint - ${maxChunkBytes} and start < $5 and start + length(data) > $4
          order by start limit ${chunksPerRead}`,
      },
      [row.jobId, row.attempt, row.entry, at, end],
    );
    for (const chunk of chunks) {
      if (chunk.start > at) return;
      const piece = chunk.data.subarray(at - chunk.start, end - chunk.start);
      at += piece.length;
      yield piece;
    }
    if (chunks.length < chunksPerRead) return;
  }
}
