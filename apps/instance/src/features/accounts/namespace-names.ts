import { ApiError } from '../../api-error.ts';
import { sqlState } from '../../database/index.ts';

const uniqueViolation = '23505';

/** Users and organizations share their names. @returns what to throw in place of what an insert threw */
export function nameTaken(error: unknown, name: string): unknown {
  if (sqlState(error) !== uniqueViolation) return error;
  return new ApiError(409, 'name_taken', `There is a user or an organization "${name}" already`);
}
