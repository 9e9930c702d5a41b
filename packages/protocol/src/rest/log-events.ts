import { z } from 'zod';
import { jobStateSchema } from '../job-states.ts';
import { logEntryViewSchema, waitingSchema } from './jobs.ts';

/**
 * Events of `GET /.api/jobs/:id/log` with `Accept: text/event-stream`, in the order of the log: entries of an attempt
 * one after the other, attempts one after the other. The SSE `id` is an opaque cursor for `Last-Event-ID`.
 */
export const logEventSchemas = {
  /** The job's state changed (also sent first). */
  job: z.object({
    state: jobStateSchema,
    attempt: z.int(),
    executor: z.string().nullable(),
    failureMessage: z.string().nullable(),
    waiting: waitingSchema.nullable(),
  }),
  /** An entry began, or ended (then with its exit code). */
  entry: logEntryViewSchema,
  /** `data`: base64 of the bytes at `offset` of the entry's output, `stdout: ` and `stderr: ` prefixes included. */
  output: z.object({ attempt: z.int(), entry: z.int(), offset: z.int(), data: z.string() }),
  /** The job has ended and its whole log was sent; the stream closes. */
  end: z.object({ state: jobStateSchema }),
} as const;
export type LogEventName = keyof typeof logEventSchemas;
export type LogEvent = {
  [Name in LogEventName]: { event: Name; data: z.infer<(typeof logEventSchemas)[Name]> };
}[LogEventName];
