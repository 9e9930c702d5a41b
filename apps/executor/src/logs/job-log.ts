import type { Redactor } from '@kiln/redaction';
import { isInstanceError, type JobClient } from '../client/index.ts';
import type { Logger } from '../process-log/index.ts';
import { deliverEntry, type EntryHead } from './delivery.ts';
import { createLinePrefixer, type StreamName } from './line-prefixer.ts';
import { createOutputBuffer } from './output-buffer.ts';

/** One logged command of a job, from its start to its end. */
export interface LogEntry {
  /** Output of the command as it comes. Waits while the instance is behind, so that a flood stays in the pipe. */
  write(stream: StreamName, bytes: Uint8Array): Promise<void>;
  /** One line of the executor itself. */
  note(line: string): void;
  /** The command has ended; -1: it was killed. Later output is ignored. */
  end(exitCode: number): void;
}

/** The execution log of one job. */
export interface JobLog {
  /** Begins an entry: the instance is told at once. `command` is redacted here. */
  begin(key: string, command: readonly string[]): LogEntry;
  /** The entry that was begun last, while it has not ended. */
  current(): LogEntry | undefined;
  /** Waits until all of it has been delivered or given up; never fails. */
  close(): Promise<void>;
  /** The job is lost: nothing more is sent. */
  abandon(): void;
}

export interface JobLogOptions {
  client: JobClient;
  redactor: Redactor;
  /** Aborted when the job is being stopped: from then on no writer waits any more. */
  stop: AbortSignal;
  limitBytes: number;
  /** Told of each command that has ended. */
  onCommand(key: string, seconds: number, exitCode: number): void;
  processLog: Logger;
}

/** Per entry, beside the chunk that is being sent. */
const highWaterBytes = 2 ** 20;

export function createJobLog(options: JobLogOptions): JobLog {
  const { client, redactor, stop, processLog } = options;
  const abandonment = new AbortController();
  const deliveries: Promise<void>[] = [];
  let turn: Promise<unknown> = Promise.resolve();
  let remainingBytes = options.limitBytes;
  let current: LogEntry | undefined;

  function inTurn<Result>(add: () => Promise<Result>): Promise<Result> {
    const result = turn.then(add);
    turn = result.catch(() => undefined);
    return result;
  }

  async function deliver(
    head: () => EntryHead,
    output: ReturnType<typeof createOutputBuffer>,
  ): Promise<void> {
    try {
      await deliverEntry({ client, head, output, inTurn, abandoned: abandonment.signal });
    } catch (error) {
      // A log that cannot be delivered never decides about the job (the reference lets it fail a good one).
      output.discard();
      if (abandonment.signal.aborted) return;
      if (!isInstanceError(error)) throw error;
      const fields = { entry: head().key, kind: error.kind, cause: error.message };
      processLog.warn(fields, 'the rest of a log entry could not be delivered');
    }
  }

  return {
    begin(key, command) {
      const startedAt = performance.now();
      const begun = {
        key,
        command: command.map((argument) => redactor.redactText(argument)),
        startTime: new Date().toISOString(),
      };
      let ending: { exitCode: number; durationMs: number } | undefined;
      const output = createOutputBuffer(highWaterBytes);
      const prefixer = createLinePrefixer();
      const streams = { stdout: redactor.stream(), stderr: redactor.stream() };
      let capped = false;

      function push(bytes: Uint8Array): void {
        if (capped || bytes.length === 0) return;
        // Once the job is being stopped nobody waits for room, so what a step still pours out is cut off here.
        const room = stop.aborted ? 2 * highWaterBytes - output.length : Number.POSITIVE_INFINITY;
        const kept = bytes.subarray(0, Math.max(0, Math.min(remainingBytes, room)));
        remainingBytes -= kept.length;
        output.push(kept);
        if (kept.length === bytes.length) return;
        capped = true;
        const why = remainingBytes <= 0 ? 'the log of this job is full' : 'the job was stopped';
        output.push(Buffer.from(`\n[kiln] ${why}: the rest of this output is not kept\n`));
      }

      const entry: LogEntry = {
        async write(stream, bytes) {
          if (ending !== undefined) return;
          push(prefixer.write(stream, streams[stream].write(bytes)));
          await output.room(stop);
        },
        note(line) {
          if (ending !== undefined) return;
          push(prefixer.write('stderr', Buffer.from(`[kiln] ${redactor.redactText(line)}\n`)));
        },
        end(exitCode) {
          if (ending !== undefined) return;
          push(prefixer.write('stdout', streams.stdout.flush()));
          push(prefixer.write('stderr', streams.stderr.flush()));
          push(prefixer.end());
          const seconds = (performance.now() - startedAt) / 1000;
          ending = { exitCode, durationMs: Math.round(seconds * 1000) };
          options.onCommand(key, seconds, exitCode);
          if (current === entry) current = undefined;
          output.end();
        },
      };
      current = entry;
      deliveries.push(deliver(() => ({ ...begun, ...ending }), output));
      return entry;
    },
    current: () => current,
    async close() {
      current?.end(-1);
      await Promise.all(deliveries);
    },
    abandon: () => abandonment.abort(new Error('the job is lost')),
  };
}
