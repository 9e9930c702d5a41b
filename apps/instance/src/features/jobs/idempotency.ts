import { createHash } from 'node:crypto';
import { ApiError } from '../../api-error.ts';

/**
 * Reads the header `Idempotency-Key`.
 * @throws ApiError 400
 */
export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header === 'string' && /^[\x21-\x7e]{1,255}$/.test(header)) return header;
  throw new ApiError(
    400,
    'invalid_request',
    'Idempotency-Key must be one header of 1 to 255 printable ASCII characters without spaces',
  );
}

/** Recognises the same submission, whatever the order of its keys. */
export function hashSubmission(body: unknown): Buffer {
  return createHash('sha256').update(JSON.stringify(body, sortedKeys)).digest();
}

function sortedKeys(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** The key was used for another submission. */
export function keyReused(key: string, jobId: number): ApiError {
  return new ApiError(
    409,
    'idempotency_key_reused',
    `Idempotency-Key ${JSON.stringify(key)} was used for job ${jobId}, with another body`,
    'Use a new key for each submission, and the same key only to repeat it.',
  );
}
