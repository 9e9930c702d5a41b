import { ApiError } from '../../api-error.ts';
import { sqlState } from '../../database/index.ts';

const uniqueViolation = '23505';

/** Whether an insert failed because of the name, which users and organizations share. */
export function isNameTaken(error: unknown): boolean {
  return sqlState(error) === uniqueViolation;
}

/** What to throw in place of what an insert threw. */
export function nameTaken(error: unknown, name: string): unknown {
  if (!isNameTaken(error)) return error;
  return new ApiError(409, 'name_taken', `There is a user or an organization "${name}" already`);
}
