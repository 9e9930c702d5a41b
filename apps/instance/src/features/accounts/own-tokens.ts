import type { AccessTokenView, CreateAccessToken, CreatedAccessToken, TokenScope } from '@kiln/protocol';
import type { Executable } from '../../database/index.ts';
import { hashAccessToken, newAccessToken } from './access-tokens.ts';
import { type SignedIn, stillSignedIn, wrongCredentials } from './sign-in.ts';

interface TokenRow {
  id: number;
  note: string;
  scope: TokenScope;
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
}

const columns = `id, note, scope, created_at as "createdAt", expires_at as "expiresAt", last_used_at as "lastUsedAt"`;

/**
 * Makes an access token of a user; the reply is the only place where it ever stands.
 * @throws ApiError 401 `wrong_credentials` when the user is gone or has another password since
 */
export async function createAccessToken(
  database: Executable,
  user: SignedIn,
  { note, scope, expiresInDays }: CreateAccessToken,
): Promise<CreatedAccessToken> {
  const token = newAccessToken();
  const [row] = await database.query<TokenRow>(
    `with signed_in as (${stillSignedIn})
     insert into access_tokens (user_id, note, scope, token_sha256, expires_at)
     select id, $3, $4, $5, now() + make_interval(days => $6) from signed_in returning ${columns}`,
    [user.id, user.verifiedHash ?? null, note, scope, hashAccessToken(token), expiresInDays ?? null],
  );
  if (!row) throw wrongCredentials();
  return { token, user: user.name, accessToken: viewOf(row) };
}

/** Those of a user, newest first; expired ones too. */
export async function listAccessTokens(database: Executable, userId: number): Promise<AccessTokenView[]> {
  const rows = await database.query<TokenRow>(
    `select ${columns} from access_tokens where user_id = $1 order by id desc`,
    [userId],
  );
  return rows.map(viewOf);
}

/** @param userId whose it must be; undefined: anybody's. @returns whether there was one */
export async function revokeAccessToken(
  database: Executable,
  userId: number | undefined,
  id: number,
): Promise<boolean> {
  const rows = await database.query(
    'delete from access_tokens where id = $2 and ($1::bigint is null or user_id = $1) returning id',
    [userId ?? null, id],
  );
  return rows.length > 0;
}

function viewOf({ createdAt, expiresAt, lastUsedAt, ...row }: TokenRow): AccessTokenView {
  return {
    ...row,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
  };
}
