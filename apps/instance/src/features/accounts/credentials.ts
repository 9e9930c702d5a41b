import { timingSafeEqual } from 'node:crypto';
import type { TokenScope } from '@kiln/protocol';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { hashAccessToken } from './access-tokens.ts';
import type { Principal } from './principal.ts';

/** `last_used_at` is written at most this often: it tells a forgotten credential from a used one, no more. */
const lastUsedSeconds = 60;

interface CredentialRow {
  id: number;
  token_sha256: Buffer;
  scope: TokenScope;
  user_id: number;
  site_admin: boolean;
  namespace_id: number;
  name: string;
  expired: boolean;
  stale: boolean;
}

function statementsFor(table: 'access_tokens' | 'sessions', scope: string) {
  const rows = `
    select c.id, c.token_sha256, ${scope} as scope, users.id as user_id, users.site_admin,
           namespaces.id as namespace_id, namespaces.name,
           coalesce(c.expires_at <= now(), false) as expired,
           coalesce(c.last_used_at < now() - make_interval(secs => ${lastUsedSeconds}), true) as stale
    from ${table} c
    join users on users.id = c.user_id
    join namespaces on namespaces.id = users.namespace_id`;
  return {
    find: { name: `accounts_find_${table}`, text: `${rows} where c.token_sha256 = $1` },
    findById: { name: `accounts_find_${table}_by_id`, text: `${rows} where c.id = $1` },
    markUsed: {
      name: `accounts_mark_used_${table}`,
      // Asked again here: of many requests at the same moment one writes.
      text: `
        update ${table} set last_used_at = now()
        where id = $1 and (last_used_at is null or last_used_at < now() - make_interval(secs => ${lastUsedSeconds}))`,
    },
  };
}

const kinds = {
  token: { ...statementsFor('access_tokens', 'c.scope'), word: 'access token' },
  session: { ...statementsFor('sessions', `'all'`), word: 'session' },
};

export interface CredentialOptions {
  database: Database;
  log: Logger;
}

/** Whose access token or session it is. @throws ApiError 401 `unauthenticated` */
export async function findPrincipal(
  { database, log }: CredentialOptions,
  kind: 'token' | 'session',
  secret: string,
  hint: string,
): Promise<Principal> {
  const { find, markUsed, word } = kinds[kind];
  const hash = hashAccessToken(secret);
  const [row] = await database.query<CredentialRow>(find, [hash]);
  if (!row || !timingSafeEqual(row.token_sha256, hash)) {
    throw new ApiError(401, 'unauthenticated', `The ${word} is unknown or was revoked`, hint);
  }
  if (row.expired) throw new ApiError(401, 'unauthenticated', `The ${word} has expired`, hint);
  if (row.stale) {
    // Not awaited: a request must not fail or wait because of a remark about it.
    database.query(markUsed, [row.id]).catch((err: unknown) => {
      log.warn({ err, kind, id: row.id }, 'could not note that a credential was used');
    });
  }
  return principalFrom(row, kind);
}

/** Who has a credential now that was good earlier; undefined when it is good no more. */
export async function currentPrincipal(
  database: Database,
  { kind, id }: Principal['credential'],
): Promise<Principal | undefined> {
  const [row] = await database.query<CredentialRow>(kinds[kind].findById, [id]);
  return row && !row.expired ? principalFrom(row, kind) : undefined;
}

function principalFrom(row: CredentialRow, kind: Principal['credential']['kind']): Principal {
  return {
    userId: row.user_id,
    name: row.name,
    siteAdmin: row.site_admin && row.scope === 'all',
    namespaceId: row.namespace_id,
    scope: row.scope,
    credential: { kind, id: row.id },
  };
}
