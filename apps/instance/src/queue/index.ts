export { createQueue, type QueueObserver, type QueueOptions } from './create-queue.ts';
export type { DocumentProblem, DocumentReader, ProducedFile, Producer } from './producer.ts';
export type {
  ClaimedJob,
  DequeueRequest,
  Enqueued,
  JobCaller,
  JobRow,
  MarkKind,
  MarkResult,
  NewJob,
  NewRecord,
  Queue,
  Refusal,
  ReleaseReason,
  TokenClaims,
} from './queue.ts';
export { deleteEndedJobs, findEndedJobs } from './retention.ts';
export {
  aheadOfNewJob,
  findJobRow,
  jobColumns,
  jobsAhead,
  pastAttempts,
  type QueueCounts,
  queueCounts,
} from './views.ts';
