import type { LogEntryView } from '@kiln/protocol';

/** One log entry: a command that a job ran, with its output. */
export interface EntryName {
  jobId: number;
  attempt: number;
  /** From 1, within the attempt. */
  entry: number;
}

/** The fields of an entry beside its output, as an executor reports them. */
export interface EntryHead {
  key: string;
  command: string[];
  startedAt: Date;
  /** Undefined until the command has ended. */
  exitCode?: number | undefined;
  durationMs?: number | undefined;
}

/** An entry's row. */
export interface EntryRow extends EntryName {
  key: string;
  command: string[];
  startedAt: Date;
  exitCode: number | null;
  durationMs: number | null;
  receivedBytes: number;
  bytes: number;
  dropped: boolean;
  sha256: Buffer | null;
  revision: number;
  blobKey: string | null;
  blobOffset: number | null;
  archivedBytes: number;
}

/** Stands at the end of an entry whose output went past `logs.maxBytesPerJob`; not stored, so it costs no room. */
export const droppedMarker = Buffer.from(
  '\n[kiln: output dropped, this log has reached logs.maxBytesPerJob]\n',
);

/** Rows of chunks are at most this long; readers count on it. */
export const maxChunkBytes = 256 * 1024;

/** For `select` on `log_entries e`. */
export const entryColumns = `e.job_id as "jobId", e.attempt, e.entry, e.key, e.command, e.started_at as "startedAt",
  e.exit_code as "exitCode", e.duration_ms as "durationMs", e.received_bytes as "receivedBytes", e.bytes, e.dropped,
  e.sha256, e.revision, e.blob_key as "blobKey", e.blob_offset as "blobOffset", e.archived_bytes as "archivedBytes"`;

/** Bytes that a reader of the entry gets, the marker included. */
export function readableBytes(row: EntryRow): number {
  return row.bytes + (row.dropped ? droppedMarker.length : 0);
}

export function hasEnded(row: EntryRow): boolean {
  return row.exitCode !== null || row.durationMs !== null;
}

export function entryView(row: EntryRow): LogEntryView {
  return {
    attempt: row.attempt,
    entry: row.entry,
    key: row.key,
    command: row.command,
    startedAt: row.startedAt.toISOString(),
    exitCode: row.exitCode,
    durationMs: row.durationMs,
    bytes: readableBytes(row),
  };
}
