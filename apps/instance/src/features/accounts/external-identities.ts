import { accountNameSchema } from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { isNameTaken } from './namespace-names.ts';
import type { ExternalAccount } from './openid-connect.ts';
import type { SignedIn } from './sign-in.ts';
import { requireUser } from './users.ts';

/**
 * Whose account it is. A new user is never taken for one who is there, whatever they are called: names at the provider
 * are often free to choose.
 * @throws ApiError 403 `unknown_account`, 403 `no_name_for_account`, 409 `name_taken`
 */
export async function userOfAccount(
  database: Database,
  account: ExternalAccount,
  allowSignup: boolean,
): Promise<SignedIn> {
  const known = await findUser(database, account);
  if (known) return known;
  if (!allowSignup) {
    throw new ApiError(
      403,
      'unknown_account',
      `No user signs in with the account ${JSON.stringify(account.subject)} of ${account.issuer}`,
      linkHint(account),
    );
  }
  return createUser(database, account);
}

/** Lets a user sign in with an account, and with no other of the same issuer. @throws ApiError 404 `unknown_user`, 409 `account_taken` */
export async function linkAccount(
  database: Database,
  name: string,
  { issuer, subject }: Pick<ExternalAccount, 'issuer' | 'subject'>,
): Promise<void> {
  await database.transaction(async (transaction) => {
    const { id } = await requireUser(transaction, name);
    await transaction.query('delete from external_identities where issuer = $1 and user_id = $2', [
      issuer,
      id,
    ]);
    const linked = await transaction.query(
      `insert into external_identities (issuer, subject, user_id) values ($1, $2, $3)
       on conflict do nothing returning 1`,
      [issuer, subject, id],
    );
    if (linked.length > 0) return;
    throw new ApiError(
      409,
      'account_taken',
      'Another user signs in with this account',
      'Link that user to another account first, or delete them',
    );
  });
}

async function findUser(
  database: Database,
  { issuer, subject }: ExternalAccount,
): Promise<SignedIn | undefined> {
  const [user] = await database.query<SignedIn>(
    `select users.id, namespaces.name from external_identities e
     join users on users.id = e.user_id join namespaces on namespaces.id = users.namespace_id
     where e.issuer = $1 and e.subject = $2`,
    [issuer, subject],
  );
  return user;
}

async function createUser(database: Database, account: ExternalAccount): Promise<SignedIn> {
  const name = nameFrom((await account.preferredName()) ?? '');
  if (name === undefined) {
    throw new ApiError(
      403,
      'no_name_for_account',
      `The OpenID Connect provider gives the account ${JSON.stringify(account.subject)} no name that a user can have`,
      `A site admin makes a user (kiln user create NAME). ${linkHint(account)}`,
    );
  }
  try {
    const [user] = await database.query<SignedIn>(
      `with namespace as (insert into namespaces (name, kind) values ($1, 'user') returning id),
         made as (insert into users (namespace_id) select id from namespace returning id),
         linked as (insert into external_identities (issuer, subject, user_id) select $2, $3, id from made)
       select id, $1 as name from made`,
      [name, account.issuer, account.subject],
    );
    if (!user) throw new Error('a new user gave no row');
    return user;
  } catch (error) {
    // The same account twice at the same moment: the other request made the user.
    const known = await findUser(database, account);
    if (known) return known;
    if (!isNameTaken(error)) throw error;
    throw new ApiError(
      409,
      'name_taken',
      `There is a user or an organization "${name}" already, to which the account ${JSON.stringify(account.subject)} is not linked`,
      linkHint(account),
    );
  }
}

function linkHint({ subject }: ExternalAccount): string {
  return `A site admin links it to a user: kiln user link NAME ${JSON.stringify(subject)}`;
}

/** `Dora Müller@example.com` -> `Dora-M-ller`. */
function nameFrom(preferred: string): string | undefined {
  const name = (preferred.split('@')[0] ?? '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/([._-])[._-]+/g, '$1')
    .replace(/^[._-]+/, '')
    .slice(0, 39)
    .replace(/[._-]+$/, '');
  return accountNameSchema.safeParse(name).data;
}
