/**
 * What a caller of the instance distinguishes:
 * - `unreachable`: no answer, or one that says "later" (5xx, 429): the same call may succeed in a while
 * - `unauthorized`: the shared secret or the job token is not accepted
 * - `unknown_queue`: the instance has no such queue
 * - `gone`: the job is no longer this executor's, or has ended
 * - `stale`: a newer attempt of the job exists
 * - `rejected`: anything else that no repetition would mend
 */
export type InstanceErrorKind =
  | 'unreachable'
  | 'unauthorized'
  | 'unknown_queue'
  | 'gone'
  | 'stale'
  | 'rejected';

/** A call to the instance that did not succeed. The message says what was called, what came back and what to do. */
export class InstanceError extends Error {
  override readonly name = 'InstanceError';
  readonly kind: InstanceErrorKind;
  /** HTTP status; absent when there was no answer. */
  readonly status: number | undefined;
  constructor(kind: InstanceErrorKind, message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.kind = kind;
    this.status = options.status;
  }
}

export function isInstanceError(error: unknown): error is InstanceError {
  return error instanceof InstanceError;
}
