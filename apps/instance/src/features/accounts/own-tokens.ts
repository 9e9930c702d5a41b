import type { AccessTokenView, CreateAccessToken, CreatedAccessToken, TokenScope } from '@kiln/protocol';
import type { Executable } from '../../database/index.ts';
import { hashAccessToken, newAccessToken } from './access-tokens.ts';
import type { SignedIn } from './sign-in.ts';

interface TokenRow {
  id: number;
  note: string;
  scope: TokenScope;
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
}

const columns = `id, note, scope, created_at as "createdAt", expires_at as "expiresAt", last_used_at as "lastUsedAt"`;

/** Makes an access token of a user; the reply is the only place where it ever stands. */
export async function createAccessToken(
  database: Executable,
  user: SignedIn,
  { note, scope, expiresInDays }: CreateAccessToken,
): Promise<CreatedAccessToken> {
  const token = newAccessToken();
  const [row] = await database.query<TokenRow>(
    `insert into access_tokens (user_id, note, scope, token_sha256, expires_at)
     values ($1, $2, $3, $4, now() + make_interval(days => $5)) returning ${columns}`,
    [user.id, note, scope, hashAccessToken(token), expiresInDays ?? null],
  );
  if (!row) throw new Error('a new access token gave no row');
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
