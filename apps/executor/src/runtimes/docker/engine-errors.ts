/** The daemon answered with an error. `message` is the daemon's own. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly status: number;
  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** The daemon cannot be spoken to; the message says what to do about it. */
export class EngineUnreachable extends Error {
  override readonly name = 'EngineUnreachable';
}

/** Whether an error says that the object is not there (any more). */
export function isGone(error: unknown): boolean {
  return error instanceof EngineError && error.status === 404;
}
