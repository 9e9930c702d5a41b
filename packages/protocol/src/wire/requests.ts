import { z } from 'zod';
import { wireArray, wireInteger, wireObject, wireText } from './decode.ts';

/** Job ids travel as JSON numbers or decimal strings; both are read as strings (from the reference). */
const jobId = z.union([z.int().transform(String), z.string()], {
  error: (issue) => `unknown type for job ID: ${JSON.stringify(issue.input)}`,
});
const attempt = z.int().positive().optional();
/** Seconds; clamped by the route that uses it. */
const waitSeconds = z.number().nonnegative().optional();

/** Body of `dequeue`, single and multi queue. */
export const dequeueRequestSchema = wireObject({
  queues: wireArray(z.string()),
  executorName: wireText,
  version: wireText,
  numCPUs: wireInteger,
  memory: wireText,
  diskSpace: wireText,
  extensions: wireArray(z.string()),
  waitSeconds,
  kilnVersion: wireText,
});
export type DequeueRequest = z.infer<typeof dequeueRequestSchema>;

/** How an executor isolates jobs. `vmm` and `accelerator` only with `microvm`. */
export const isolationSchema = z.object({
  runtime: z.string(),
  vmm: z.string().optional(),
  accelerator: z.string().optional(),
});
export type Isolation = z.infer<typeof isolationSchema>;

/** Body of `heartbeat`, single and multi queue. Multi-queue ids come as `jobIdsByQueue`. */
export const heartbeatRequestSchema = wireObject({
  version: wireText,
  executorName: wireText,
  jobIds: wireArray(jobId),
  jobIdsByQueue: wireArray(wireObject({ queueName: wireText, jobIds: wireArray(jobId) })),
  queueNames: wireArray(z.string()),
  os: wireText,
  architecture: wireText,
  dockerVersion: wireText,
  executorVersion: wireText,
  gitVersion: wireText,
  igniteVersion: wireText,
  srcCliVersion: wireText,
  prometheusMetrics: wireText,
  // Kiln's extensions
  extensions: wireArray(z.string()),
  kilnVersion: wireText,
  attempts: z
    .record(z.string(), z.int().positive())
    .nullish()
    .transform((value) => value ?? {}),
  waitSeconds,
  slots: z.int().nonnegative().optional(),
  running: z.int().nonnegative().optional(),
  isolation: isolationSchema.optional(),
  endedBecause: z.string().max(200).optional(),
});
export type HeartbeatRequest = z.infer<typeof heartbeatRequestSchema>;

/** `knownIds` and `cancelIds` are always both emitted, as arrays of strings; readers also accept numbers and `null`. */
export const heartbeatResponseSchema = wireObject({
  knownIds: wireArray(jobId),
  cancelIds: wireArray(jobId),
  drain: z.boolean().optional(),
});
export type HeartbeatResponse = z.infer<typeof heartbeatResponseSchema>;

const jobCall = { executorName: wireText, jobId: wireInteger, attempt };

/** The fields of an execution log entry, without its output. */
const logEntryHead = {
  key: wireText,
  command: wireArray(z.string()),
  startTime: wireText,
  exitCode: z.int().optional(),
  durationMs: z.int().optional(),
};

/**
 * Bodies of `addExecutionLogEntry` and `updateExecutionLogEntry` without `out`: log bodies may be hundreds of
 * MiB, so an instance takes `out` from the stream and everything else from here.
 */
export const addLogEntrySchema = wireObject({ ...jobCall, ...logEntryHead });
export type AddLogEntry = z.infer<typeof addLogEntrySchema>;
export const updateLogEntrySchema = wireObject({ ...jobCall, ...logEntryHead, entryId: wireInteger });
export type UpdateLogEntry = z.infer<typeof updateLogEntrySchema>;

/** Body of `appendExecutionLog` (extension `log-append`): `data` is base64 of the bytes at `offset`. */
export const appendLogSchema = wireObject({
  ...jobCall,
  entryId: wireInteger,
  offset: z.int().nonnegative(),
  data: wireText,
  exitCode: z.int().optional(),
  durationMs: z.int().optional(),
});
export type AppendLog = z.infer<typeof appendLogSchema>;

/** Resources that one log entry's command used (extension `usage`). */
export const usageSchema = z.object({
  key: z.string(),
  cpuSeconds: z.number().nonnegative().optional(),
  peakMemoryBytes: z.int().nonnegative().optional(),
  diskBytes: z.int().nonnegative().optional(),
  networkRxBytes: z.int().nonnegative().optional(),
  networkTxBytes: z.int().nonnegative().optional(),
});
export type Usage = z.infer<typeof usageSchema>;

/** Bodies of `markComplete`, `markErrored` and `markFailed`; `errorMessage` only with the last two. */
export const markSchema = wireObject({ ...jobCall, errorMessage: wireText, usage: wireArray(usageSchema) });
export type Mark = z.infer<typeof markSchema>;

export const releaseReasons = ['drain', 'shutdown', 'spot', 'infrastructure'] as const;
/** Body of `release` (extension `release`). `infrastructure` counts as a reset, the others do not. */
export const releaseSchema = wireObject({ ...jobCall, reason: z.enum(releaseReasons), message: wireText });
export type Release = z.infer<typeof releaseSchema>;
