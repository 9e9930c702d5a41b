import type { Database, Transaction } from '../../database/index.ts';
import { requireOtherOrganizationAdmins, requireOtherSiteAdmin } from './last-admin.ts';

export interface DeleteUserOptions {
  database: Database;
  /** Cancels every job of a namespace that has not ended. */
  cancelJobs(namespaceId: number): Promise<void>;
  /** Takes a user from the records of other rooms that outlive it, however many these are. */
  forgetUser(userId: number): Promise<void>;
}

interface User {
  id: number;
  namespaceId: number;
  name: string;
}

/**
 * Deletes a user. If it fails on the way, the user is shut out all the same, and deleting can be begun again.
 * @throws ApiError 409 `last_site_admin`, `last_organization_admin`
 */
export async function deleteUser(
  { database, cancelJobs, forgetUser }: DeleteUserOptions,
  user: User,
): Promise<void> {
  await database.transaction((transaction) => shutOut(transaction, user));
  // Before, so that they are canceled even if this process dies; and after, when no more of them can come.
  await cancelJobs(user.namespaceId);
  // Left to the foreign keys, the records of years would have to change in one statement.
  await forgetUser(user.id);
  await database.transaction(async (transaction) => {
    // Again: somebody may have given it something meanwhile.
    await shutOut(transaction, user);
    await transaction.query('delete from namespaces where id = $1', [user.namespaceId]);
  });
  await cancelJobs(user.namespaceId);
}

/** Takes all that a user can come in with, and all that it may do beyond its own namespace. */
async function shutOut(transaction: Transaction, user: User): Promise<void> {
  await requireOtherSiteAdmin(transaction, user);
  await requireOtherOrganizationAdmins(transaction, user);
  await transaction.query('update users set site_admin = false, password_hash = null where id = $1', [
    user.id,
  ]);
  for (const table of ['access_tokens', 'sessions', 'external_identities', 'organization_members']) {
    await transaction.query(`delete from ${table} where user_id = $1`, [user.id]);
  }
}
