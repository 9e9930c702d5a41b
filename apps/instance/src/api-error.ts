import type { ApiError as ApiErrorBody } from '@kiln/protocol';

/**
 * An error that `/.api` answers as `{"error": {code, message, hint?}}`. Throw it from routes and services; the
 * server turns it into the response. Any other error is answered as 500 without its text, and logged.
 */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** HTTP status, 400-599. */
  readonly status: number;
  /** Stable, `snake_case`. */
  readonly code: string;
  /** What the caller can do about it. */
  readonly hint: string | undefined;
  /** When it is worth trying again; 503 is after a second unless it says otherwise. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: string, message: string, hint?: string, retryAfterSeconds?: number) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.retryAfterSeconds = retryAfterSeconds ?? (status === 503 ? 1 : undefined);
  }

  toBody(): ApiErrorBody {
    return {
      error: {
        code: this.code,
        message: this.message,
        ...(this.hint === undefined ? {} : { hint: this.hint }),
      },
    };
  }
}
