import { ApiError } from '../../api-error.ts';
import { sqlState } from '../../database/index.ts';
import type { KeyRing } from './key-ring.ts';

const foreignKeyViolation = '23503';

/** Of an insert that the database refused because it knows the ring's current key no more: what to do. Else the error itself. */
export function explainRetiredKey(error: unknown, ring: KeyRing): unknown {
  if (sqlState(error) !== foreignKeyViolation) return error;
  return new ApiError(
    503,
    'secret_key_retired',
    `This instance encrypts with the key ${ring.currentId}, which was retired by a rotation`,
    'Start it again with the new key first.',
  );
}
