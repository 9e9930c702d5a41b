import type { FailureKind, Isolation, JobState, QueueName, Usage } from '@kiln/protocol';
import type { Transaction } from '../database/index.ts';

/** A job as its producer hands it to the queue. */
export interface NewJob {
  queue: QueueName;
  /** Namespace that owns the job; the fairness key. */
  tenant: number;
  /** Who builds the document: `jobs`. */
  producer: string;
  /** -100..100, higher first, inside the tenant's lane only. */
  priority: number;
  /** Only executors with the `limits` extension may have it. */
  needsLimits: boolean;
  timeoutSeconds: number;
  /** Binds job tokens to a repository on the git routes; null: none. */
  repositoryName: string | null;
}

/** What a producer keeps of a job, as one insert. */
export interface NewRecord {
  /**
   * An insert from `call (id bigint, record jsonb)`, one row for each job: `insert into ... select call.id, ... from
   * call`. The name is unique in the program.
   */
  insert: { name: string; text: string };
  /** Becomes the `record`; an object. */
  json: string;
}

export interface Enqueued {
  id: number;
  queuedAt: Date;
  /** How many jobs of its lane waited already, whatever their priority. */
  waitingBefore: number;
}

/** Who asks for a job, with what it can do. */
export interface DequeueRequest {
  executorName: string;
  /** In the order asked for; not empty. */
  queues: QueueName[];
  /** Knows the `limits` extension. */
  limits: boolean;
  /** Knows the `confirm` extension: an unconfirmed claim returns to the head of its lane after 10 s. */
  confirm: boolean;
  /** How the executor isolates jobs, as its last heartbeat said; kept with the attempt. */
  isolation?: Isolation | null | undefined;
  /** 0: answer at once. */
  waitSeconds: number;
  /** Aborts when the client is gone; nothing is claimed for it then. */
  signal: AbortSignal;
}

export interface ClaimedJob {
  id: number;
  attempt: number;
  queue: QueueName;
  producer: string;
  executorName: string;
  /** 40 lowercase hex characters; only its hash is stored. Dies when a newer attempt is claimed. */
  token: string;
  timeoutSeconds: number;
}

/** Identifies the caller of a job route. Without `attempt` (genuine executors) the executor's name must match the claim. */
export interface JobCaller {
  jobId: number;
  executorName: string;
  attempt?: number | undefined;
}

/** Why a call on a job was refused. `unknown`: no such job, not processing, or not this executor's. `stale`: an older attempt. */
export type Refusal = 'unknown' | 'stale';

export interface TokenClaims {
  jobId: number;
  queue: QueueName;
  repositoryName: string | null;
  attempt: number;
  executorName: string;
  /** The job has ended: the token authorises only the same mark again. */
  ended: boolean;
}

export type MarkKind = 'complete' | 'errored' | 'failed';
export type MarkResult = { state: JobState; repeated: boolean } | { refused: Refusal | 'different' };
export type ReleaseReason = 'drain' | 'shutdown' | 'spot' | 'infrastructure';

export interface Queue extends AsyncDisposable {
  /** Inside the producer's transaction, so that a job and its record appear together. Wakes waiting dequeues at commit. */
  enqueue(transaction: Transaction, job: NewJob): Promise<number>;
  /** The same for a producer that has no more to do than insert a record: many jobs share one statement and commit. */
  enqueueWithRecord(job: NewJob, record: NewRecord): Promise<Enqueued>;
  /** Claims fairly and commits; holds the request up to `waitSeconds`. Null: nothing to do. */
  dequeue(request: DequeueRequest): Promise<ClaimedJob | null>;
  /** Undoes a claim whose reply could not be written: the job returns to the head of its lane, no reset counted. */
  unclaim(claim: ClaimedJob): Promise<void>;
  /** The document of a claimed job could not be built. `retryAfterSeconds`: back to the queue, delayed; absent: failed (`document`). */
  documentFailed(claim: ClaimedJob, message: string, retryAfterSeconds?: number): Promise<void>;

  /**
   * Extends leases on arrival, confirms claims, takes expired ones back. Held up to `waitSeconds`, answered early on
   * cancel or when `signal` aborts. `known`: still this executor's; `cancel`: subset to be canceled.
   */
  heartbeat(request: {
    executorName: string;
    jobs: { id: number; queue?: QueueName | undefined; attempt?: number | undefined }[];
    waitSeconds: number;
    signal: AbortSignal;
  }): Promise<{ known: number[]; cancel: number[] }>;
  /** For log writes: the same guard and lease extension as a heartbeat, for one job. Resolves to the current attempt. */
  touch(caller: JobCaller): Promise<{ attempt: number } | { refused: Refusal }>;
  mark(caller: JobCaller, kind: MarkKind, message: string, usage: Usage[]): Promise<MarkResult>;
  release(
    caller: JobCaller,
    reason: ReleaseReason,
    message: string,
  ): Promise<{ released: true } | { refused: Refusal }>;
  /** Claims of a job token, or undefined when it authorises nothing (unknown, or a newer attempt was claimed). */
  tokenClaims(token: string): Promise<TokenClaims | undefined>;

  /** `queued` -> `canceled` at once; `processing` -> flagged. `ended`: nothing to cancel. */
  cancel(jobId: number): Promise<'canceled' | 'requested' | 'ended' | 'unknown'>;
  /** Queues an ended job again: same id, next attempt. */
  retry(jobId: number): Promise<'queued' | 'not-ended' | 'unknown'>;
  /** Calls back after each state change of a job (any instance's), until disposed. */
  watch(jobId: number, onChange: () => void): Disposable;
}

/** A job's row as the queue keeps it, for producers' views. */
export interface JobRow {
  id: number;
  queue: QueueName;
  tenant: number;
  producer: string;
  state: JobState;
  failureKind: FailureKind | null;
  failureMessage: string | null;
  cancelRequested: boolean;
  priority: number;
  needsLimits: boolean;
  attempt: number;
  resets: number;
  executorName: string | null;
  isolation: Isolation | null;
  timeoutSeconds: number;
  usage: Usage[];
  queuedAt: Date;
  availableAt: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
}
