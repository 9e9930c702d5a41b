import { ApiError } from '../../api-error.ts';
import type { Transaction } from '../../database/index.ts';

interface User {
  id: number;
  name: string;
}

/**
 * For changes after which the user is no site admin any more: there is another one, until the transaction ends.
 * @throws ApiError 409 `last_site_admin`
 */
export async function requireOtherSiteAdmin(transaction: Transaction, { id, name }: User): Promise<void> {
  // Two admins who delete each other at the same moment: one of them finds that it is the last.
  await transaction.query('lock table users in share row exclusive mode');
  const last = await transaction.query(
    `select from users where id = $1 and site_admin and not exists (
       select from users other where other.id <> $1 and other.site_admin)`,
    [id],
  );
  if (last.length === 0) return;
  throw new ApiError(
    409,
    'last_site_admin',
    `"${name}" is the last site admin`,
    'Make another one first: kiln user create --site-admin NAME',
  );
}

/**
 * For changes after which the user is in no organization any more: each of theirs has another admin, until the
 * transaction ends.
 * @throws ApiError 409 `last_organization_admin`
 */
export async function requireOtherOrganizationAdmins(
  transaction: Transaction,
  { id, name }: User,
): Promise<void> {
  // As each change of members does: another admin may be leaving at this moment.
  await transaction.query(
    `select from namespaces where id in (select organization_id from organization_members where user_id = $1)
     order by id for no key update`,
    [id],
  );
  const left = await transaction.query<{ name: string }>(
    `select n.name from organization_members m join namespaces n on n.id = m.organization_id
     where m.user_id = $1 and m.role = 'admin' and not exists (
       select from organization_members other
       where other.organization_id = m.organization_id and other.user_id <> $1 and other.role = 'admin')
     order by lower(n.name)`,
    [id],
  );
  if (left.length === 0) return;
  throw new ApiError(
    409,
    'last_organization_admin',
    `"${name}" is the only admin of ${left.map((organization) => `"${organization.name}"`).join(', ')}`,
    'Make another member an admin first (kiln org add --admin NAME USER), or delete the organization (kiln org delete NAME).',
  );
}
