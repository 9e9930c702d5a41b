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
  return /^[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined;
}

/** An error's message for a person, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
