/** The database could not be opened, and a person has to do something about it; the message says what. */
export class DatabaseStartError extends Error {
  override readonly name = 'DatabaseStartError';
}

/** No connection could be had within the deadline. Nothing was run, so the caller may try again. */
export class DatabaseUnavailableError extends Error {
  override readonly name = 'DatabaseUnavailableError';
}

/** The SQLSTATE of an error that Postgres reported, or undefined. */
export function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  // Each has a digit. `EPIPE` of a socket has not.
  return /^(?=.*\d)[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined;
}

/**
 * Lost connections, a server that shuts down or is too busy, locks not got in time: the same request may succeed in
 * a moment.
 */
export function isPassingFailure(error: unknown): boolean {
  if (error instanceof DatabaseUnavailableError) return true;
  const state = sqlState(error);
  if (state !== undefined) return /^(08|53|55P03|57P|57014|40)/.test(state);
  if (!(error instanceof Error)) return false;
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code !== undefined && syscall !== undefined) {
    return (
      /^(ECONNRESET|ECONNREFUSED|EPIPE|ENOENT|ETIMEDOUT)$/.test(code) &&
      /^(connect|read|write)$/.test(syscall)
    );
  }
  return /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|timeout expired)|is not queryable$/.test(
    error.message,
  );
}

/** The database cannot hold a value (class 22), such as a text with a NUL: whoever sent it would only send it again. */
export function isUnstorableValue(error: unknown): boolean {
  return sqlState(error)?.startsWith('22') ?? false;
}

/** An error's message for a person, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
