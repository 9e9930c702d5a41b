/** What the guest answered with, or that it can no longer be spoken to. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
  /** The guest's errno, where it had one. */
  readonly errno: number | undefined;
  constructor(message: string, options: { errno?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.errno = options.errno;
  }
}
