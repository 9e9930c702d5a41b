import { accountNameSchema, type SignIn } from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { isPassword } from './passwords.ts';
import { countSignIn, forgetSignIn } from './sign-in-limits.ts';

/** A user by name and password. */
export interface SignedIn {
  id: number;
  name: string;
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
  if (!user || !right) {
    throw new ApiError(
      401,
      'wrong_credentials',
      'There is no user with this name and password',
      'A site admin sets a new password: kiln user set-password NAME',
    );
  }
  await forgetSignIn(database, name, address);
  return { id: user.id, name: user.name };
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
