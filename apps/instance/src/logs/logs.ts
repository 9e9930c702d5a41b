import type { LogEntryView } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Blobs } from '../blobs/index.ts';
import type { Database } from '../database/index.ts';
import type { Queue } from '../queue/index.ts';
import { countLeftovers, deleteLogs } from './archive.ts';
import { startArchiver } from './archiver.ts';
import { type EntryHead, type EntryName, entryView, readableBytes } from './entries.ts';
import { type FollowedEvent, type FollowOptions, followLog } from './follow.ts';
import { type LogStore, type OutputRange, readEntries, readEntry, readOutput } from './read.ts';
import { openLogWakeUps } from './wake-ups.ts';
import {
  type Append,
  addEntry,
  appendOutput,
  type LogWriter,
  type Output,
  updateEntry,
  type WriteRefusal,
} from './write.ts';

/** The logs of all jobs: append-only, by attempt and entry. */
export interface Logs extends AsyncDisposable {
  /** Begins an entry, numbered from 1 within the attempt. */
  addEntry(writer: LogWriter, head: EntryHead, output: Output): Promise<{ entry: number } | WriteRefusal>;
  /** Replaces an entry; of output that continues what is stored only the new part is written. */
  updateEntry(name: EntryName, head: EntryHead, output: Output): Promise<{ entry: number } | WriteRefusal>;
  /** Adds bytes at an offset (extension `log-append`). `mismatch`: go on at that offset instead. */
  append(
    name: EntryName,
    append: Append,
  ): Promise<{ nextOffset: number } | { mismatch: number } | WriteRefusal>;

  /** Entries in the order of the log; of one attempt or of all. */
  entries(jobId: number, attempt?: number): Promise<LogEntryView[]>;
  /** One entry's output, or a part of it; undefined when there is no such entry. */
  output(
    name: EntryName,
    range?: OutputRange,
  ): Promise<{ sizeBytes: number; body: AsyncIterable<Buffer> } | undefined>;
  /** The log so far and what is added to it, until the job has ended. */
  follow(options: FollowOptions): AsyncIterable<FollowedEvent>;

  /** The job has ended: its log is archived soon. */
  ended(jobId: number): void;
  /** Deletes the logs of jobs, archives included. */
  deleteJobs(jobIds: readonly number[]): Promise<void>;
  /** What upkeep has not cleaned up yet. */
  leftovers(): Promise<{ logsToArchive: number; forgottenBlobs: number }>;
}

export interface LogsOptions {
  database: Database;
  blobs: Blobs;
  queue: Pick<Queue, 'watch'>;
  /** `logs.maxBytesPerJob` as it is now: output of an attempt beyond it is dropped. */
  maxBytesPerJob: () => number;
  log: Logger;
}

export async function openLogs(options: LogsOptions): Promise<Logs> {
  const { queue, maxBytesPerJob, log } = options;
  const store: LogStore = { database: options.database, blobs: options.blobs };
  const wakeUps = await openLogWakeUps(store.database, log);
  const archiver = startArchiver(store, log);

  return {
    async addEntry(writer, head, output) {
      const added = await addEntry(store, writer, head, output, maxBytesPerJob());
      if (!('refused' in added)) wakeUps.wrote(writer.jobId);
      return added;
    },
    async updateEntry(name, head, output) {
      const updated = await updateEntry(store, name, head, output, maxBytesPerJob());
      if (!('refused' in updated)) wakeUps.wrote(name.jobId);
      return updated;
    },
    async append(name, append) {
      const appended = await appendOutput(store, name, append, maxBytesPerJob());
      if ('nextOffset' in appended) wakeUps.wrote(name.jobId);
      return appended;
    },

    async entries(jobId, attempt) {
      const rows = await readEntries(store.database, jobId);
      return rows.filter((row) => attempt === undefined || row.attempt === attempt).map(entryView);
    },
    async output(name, range) {
      const row = await readEntry(store.database, name);
      return row && { sizeBytes: readableBytes(row), body: readOutput(store, row, range) };
    },
    follow: (followed) => followLog(store, queue, wakeUps, followed),

    ended: archiver.add,
    deleteJobs: (jobIds) => deleteLogs(store, jobIds),
    leftovers: () => countLeftovers(store),
    async [Symbol.asyncDispose]() {
      await archiver[Symbol.asyncDispose]();
      await wakeUps[Symbol.asyncDispose]();
    },
  };
}
