import { isEnded, type LogEvent } from '@kiln/protocol';
import type { Queue } from '../queue/index.ts';
import { type EntryRow, entryView, hasEnded, readableBytes } from './entries.ts';
import { type LogStore, readEntries, readOutput } from './read.ts';
import type { LogWakeUps } from './wake-ups.ts';

/** What a `job` event says of the job, read by the caller, which knows jobs. */
export type JobEvent = Extract<LogEvent, { event: 'job' }>['data'];

export interface FollowOptions {
  jobId: number;
  /** Only this attempt; absent: all of them, one after the other. */
  attempt?: number | undefined;
  /** Cursor of the last event that was received (`Last-Event-ID`); unreadable ones start from the beginning. */
  after?: string | undefined;
  /** Ends the following, without an error. */
  signal: AbortSignal;
  /** The job as it is now; undefined when it is gone, which ends the following. */
  job(): Promise<JobEvent | undefined>;
}

export interface FollowedEvent {
  /** Cursor for `after`. */
  id: string;
  event: LogEvent;
}

/** Up to where the log was sent. */
interface Position {
  attempt: number;
  entry: number;
  offset: number;
  /** The entry's end was sent. */
  ended: boolean;
}

/**
 * A job's log from a position on, then what is added to it, until the job has ended. Entries come strictly one after
 * the other: one that has not ended holds back those after it until it ends, or its attempt does.
 */
export async function* followLog(
  store: LogStore,
  queue: Pick<Queue, 'watch'>,
  wakeUps: LogWakeUps,
  options: FollowOptions,
): AsyncGenerator<FollowedEvent> {
  const { jobId, signal } = options;
  const changes = new Changes();
  using _writes = wakeUps.watch(jobId, changes.note);
  using _states = queue.watch(jobId, changes.note);
  signal.addEventListener('abort', changes.note);
  try {
    const position = parseCursor(options.after);
    let lastJob = '';
    /** Of the entry at the position, to see when its output was replaced. */
    let revision: number | undefined;
    while (!signal.aborted) {
      // Before reading: what changes meanwhile is read in the next round.
      changes.forget();
      const job = await options.job();
      if (!job) return;
      const shown = JSON.stringify(job);
      if (shown !== lastJob) yield { id: cursor(position), event: { event: 'job', data: job } };
      lastJob = shown;

      const rows = await readEntries(store.database, jobId, position);
      for (const row of rows) {
        if (signal.aborted) return;
        if (options.attempt !== undefined && row.attempt !== options.attempt) continue;
        const isNew = row.attempt !== position.attempt || row.entry !== position.entry;
        if (isNew) {
          Object.assign(position, { attempt: row.attempt, entry: row.entry, offset: 0, ended: false });
          const data = { ...entryView(row), exitCode: null, durationMs: null };
          yield { id: cursor(position), event: { event: 'entry', data } };
        } else if ((revision ?? row.revision) !== row.revision || position.offset > readableBytes(row)) {
          position.offset = 0;
        }
        revision = row.revision;
        yield* sendOutput(store, row, position, signal);
        const isFinal = hasEnded(row) || row.attempt < job.attempt || isEnded(job.state);
        if (!isFinal) break;
        if (hasEnded(row) && !position.ended) {
          position.ended = true;
          yield { id: cursor(position), event: { event: 'entry', data: entryView(row) } };
        }
      }
      const attemptIsOver = options.attempt !== undefined && job.attempt > options.attempt;
      if (isEnded(job.state) || attemptIsOver) {
        yield { id: cursor(position), event: { event: 'end', data: { state: job.state } } };
        return;
      }
      await changes.next();
    }
  } finally {
    signal.removeEventListener('abort', changes.note);
  }
}

async function* sendOutput(
  store: LogStore,
  row: EntryRow,
  position: Position,
  signal: AbortSignal,
): AsyncGenerator<FollowedEvent> {
  const end = readableBytes(row);
  for await (const piece of readOutput(store, row, { start: position.offset, end })) {
    if (signal.aborted) return;
    const offset = position.offset;
    position.offset += piece.length;
    const data = { attempt: row.attempt, entry: row.entry, offset, data: piece.toString('base64') };
    yield { id: cursor(position), event: { event: 'output', data } };
  }
}

/** Wake-ups since the last look, however many. */
class Changes {
  private noted = false;
  private wake: (() => void) | undefined;

  readonly note = (): void => {
    this.noted = true;
    this.wake?.();
  };

  forget(): void {
    this.noted = false;
  }

  next(): Promise<void> {
    if (this.noted) return Promise.resolve();
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}

function cursor({ attempt, entry, offset, ended }: Position): string {
  return `${attempt}.${entry}.${offset}.${ended ? 1 : 0}`;
}

function parseCursor(text: string | undefined): Position {
  const [, attempt, entry, offset, ended] =
    /^(\d{1,9})\.(\d{1,9})\.(\d{1,15})\.([01])$/.exec(text ?? '') ?? [];
  if (attempt === undefined || entry === undefined || offset === undefined) {
    return { attempt: 0, entry: 0, offset: 0, ended: true };
  }
  return { attempt: Number(attempt), entry: Number(entry), offset: Number(offset), ended: ended === '1' };
}
