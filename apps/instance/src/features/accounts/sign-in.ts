import { accountNameSchema, type SignIn } from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { isPassword } from './passwords.ts';
import { countSignIn, forgetSignIn } from './sign-in-limits.ts';

/** A user by name and password. */
export interface SignedIn {
  id: number;
  name: string;
  /**
   * What the password was compared with; undefined for whoever came in otherwise. Whatever a sign-in leads to happens
   * only while this is the user's: else one that began before a new password would outlive it.
   */
  verifiedHash?: string;
}

/**
 * A wrong password and a user who does not exist, or has no password, are answered alike, after the same time.
 * @param address of the peer
 * @throws ApiError 401 `wrong_credentials`, 429 `too_many_attempts`
 */
export async function signIn(
  database: Database,
  { name, password }: SignIn,
  address: string,
): Promise<SignedIn> {
  await countSignIn(database, name, address);
  const user = await findUser(database, name);
  const right = await isPassword(password, user?.passwordHash);
  if (!user?.passwordHash || !right) throw wrongCredentials();
  await forgetSignIn(database, name, address);
  return { id: user.id, name: user.name, verifiedHash: user.passwordHash };
}

/**
 * The user who signed in, if they may still come in. The lock makes a change of the password wait for what is made of
 * the sign-in, which it then ends. $1: user id, $2: `verifiedHash`.
 */
export const stillSignedIn =
  'select id from users where id = $1 and ($2::text is null or password_hash = $2) for share';

export function wrongCredentials(): ApiError {
  return new ApiError(
    401,
    'wrong_credentials',
    'There is no user with this name and password',
    'A site admin sets a new password: kiln user set-password NAME',
  );
}

interface UserWithPassword extends SignedIn {
  passwordHash: string | null;
}

async function findUser(database: Database, name: string): Promise<UserWithPassword | undefined> {
  // Postgres and what counts attempts make other letters small in different ways: of "İ" Postgres makes "i".
  if (!accountNameSchema.safeParse(name).success) return undefined;
  const [user] = await database.query<UserWithPassword>(
    `select users.id, namespaces.name, users.password_hash as "passwordHash"
     from users join namespaces on namespaces.id = users.namespace_id where lower(namespaces.name) = lower($1)`,
    [name],
  );
  return user;
}
