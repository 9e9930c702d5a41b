import { ApiError } from '../../api-error.ts';

/** Where a page of jobs ends: opaque to clients, so that lists may one day be ordered otherwise. */
export function encodeCursor(id: number): string {
  return Buffer.from(`job:${id}`).toString('base64url');
}

/** @throws ApiError 400 `invalid_cursor` */
export function decodeCursor(cursor: string): number {
  const id = Number(/^job:(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1'))?.[1]);
  if (Number.isSafeInteger(id)) return id;
  throw new ApiError(
    400,
    'invalid_cursor',
    '"after" is not a cursor of a list of jobs',
    'Pass the "nextCursor" of the page before, unchanged.',
  );
}
