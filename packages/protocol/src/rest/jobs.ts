import { z } from 'zod';
import { failureKindSchema, jobStateSchema } from '../job-states.ts';
import { queueNameSchema } from '../queues.ts';
import { networkSchema } from '../wire/job-document.ts';
import { isolationSchema, usageSchema } from '../wire/requests.ts';
import { secretKeySchema } from './secrets.ts';

export const maxSteps = 100;
export const maxSubmitBytes = 10 * 1024 * 1024;

const envName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a name such as FOO_BAR');

export const submitStepSchema = z.strictObject({
  image: z.string().min(1).max(1024),
  run: z.string().min(1).meta({ description: 'Shell script; its first failing line fails the step' }),
  dir: z.string().max(4096).optional().meta({ description: 'Relative to the repository' }),
  env: z.record(envName, z.string()).optional(),
  key: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'must be letters, digits, ".", "_" or "-"')
    .optional(),
});

/** Body of `POST /.api/jobs`. */
export const submitJobSchema = z
  .strictObject({
    steps: z.array(submitStepSchema).min(1).max(maxSteps),
    repository: z.string().min(1).max(512).optional(),
    revision: z.string().min(1).max(512).optional(),
    clone: z
      .strictObject({
        depth: z
          .int()
          .nonnegative()
          .optional()
          .meta({ description: '1 (the default) or 0 for the whole history' }),
        tags: z.boolean().optional(),
        sparse: z.array(z.string().min(1)).max(1000).optional(),
      })
      .optional(),
    files: z.record(z.string(), z.union([z.string(), z.strictObject({ base64: z.base64() })])).optional(),
    secrets: z
      .array(secretKeySchema)
      .max(100)
      .optional()
      .meta({ description: 'Keys of executor secrets: variables of every step, masked in logs' }),
    priority: z.int().min(-100).max(100).optional(),
    timeout: z.string().optional().meta({ description: 'Such as "30m"' }),
    namespace: z.string().optional(),
    network: networkSchema.optional(),
    resources: z
      .strictObject({
        numCPUs: z.number().positive().max(1024).optional(),
        memory: z.string().optional(),
        disk: z.string().optional(),
      })
      .optional(),
    trace: z.boolean().optional().meta({ description: 'Print each command before it runs' }),
    queue: queueNameSchema.optional(),
  })
  .meta({ id: 'SubmitJob' });
export type SubmitJob = z.infer<typeof submitJobSchema>;

/** Why a queued job is not running yet. `ahead`: jobs that will be claimed before it, where that is known. */
export const waitingSchema = z.object({
  code: z.enum(['no_executor', 'executors_busy', 'behind', 'needs_extension', 'delayed']),
  message: z.string(),
  ahead: z.int().nullable(),
});
export type Waiting = z.infer<typeof waitingSchema>;

const time = z.string().meta({ format: 'date-time' });

export const logEntryViewSchema = z
  .object({
    attempt: z.int(),
    entry: z.int().meta({ description: 'From 1, within its attempt' }),
    key: z.string(),
    command: z.array(z.string()),
    startedAt: time,
    exitCode: z.int().nullable(),
    durationMs: z.int().nullable(),
    bytes: z.int().meta({ description: 'Length of its output so far' }),
  })
  .meta({ id: 'LogEntry' });
export type LogEntryView = z.infer<typeof logEntryViewSchema>;

export const stepViewSchema = z.object({
  key: z.string(),
  image: z.string(),
  run: z.string(),
  dir: z.string(),
  state: z.enum(['waiting', 'running', 'completed', 'failed', 'skipped']),
  exitCode: z.int().nullable(),
  startedAt: time.nullable(),
  durationMs: z.int().nullable(),
});
export type StepView = z.infer<typeof stepViewSchema>;

/** An attempt that ended without ending the job, or that a retry followed. */
export const attemptViewSchema = z.object({
  attempt: z.int(),
  executor: z.string(),
  startedAt: time,
  endedAt: time.nullable(),
  ended: z.string().nullable().meta({ description: 'completed, failed, canceled, lost, released, ...' }),
  message: z.string().nullable(),
});
export type AttemptView = z.infer<typeof attemptViewSchema>;

/** One job, as lists show it. */
export const jobSummarySchema = z.object({
  id: z.int(),
  queue: queueNameSchema,
  namespace: z.string(),
  state: jobStateSchema,
  failureKind: failureKindSchema.nullable(),
  failureMessage: z.string().nullable(),
  cancelRequested: z.boolean(),
  priority: z.int(),
  attempt: z.int().meta({ description: '0 until the first claim' }),
  repository: z.string().nullable(),
  revision: z.string().nullable(),
  commit: z.string().nullable(),
  executor: z.string().nullable(),
  queuedAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
});
export type JobSummary = z.infer<typeof jobSummarySchema>;

export const jobViewSchema = jobSummarySchema
  .extend({
    waiting: waitingSchema.nullable(),
    attempts: z.array(attemptViewSchema),
    isolation: isolationSchema.nullable(),
    timeoutSeconds: z.number(),
    network: networkSchema.nullable(),
    steps: z.array(stepViewSchema),
    logEntries: z.array(logEntryViewSchema),
    usage: z.array(usageSchema),
    notices: z
      .array(z.string())
      .meta({ description: 'Remarks on what was submitted that did not refuse it' }),
  })
  .meta({ id: 'Job' });
export type JobView = z.infer<typeof jobViewSchema>;

export const jobListSchema = z.object({
  jobs: z.array(jobSummarySchema),
  /** Pass as `after` for the next page; null at the end. */
  nextCursor: z.string().nullable(),
});
export type JobList = z.infer<typeof jobListSchema>;
