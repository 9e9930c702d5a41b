import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { hashAccessToken, readAuthorization } from './access-tokens.ts';
import { type Principal, rememberPrincipal } from './principal.ts';

/** A user or an organization, by name. Its id is the tenant of its jobs. */
export interface Namespace {
  id: number;
  name: string;
  kind: 'user' | 'organization';
}

export interface Accounts {
  /**
   * Reads `Authorization: token X` or `Bearer X`.
   * @throws ApiError 401 `unauthenticated`
   */
  authenticate(authorization: string | undefined): Promise<Principal>;
  /** An `onRequest` hook: refuses requests without a valid access token, before their body is read. */
  authorize(request: FastifyRequest): Promise<void>;
  /** As `authorize`, and 403 `forbidden` unless the user is a site admin. */
  authorizeSiteAdmin(request: FastifyRequest): Promise<void>;
  /**
   * The namespace in whose name a principal may act; its own when `name` is undefined.
   * @throws ApiError 400 `unknown_namespace`, also for one that the principal may not use
   */
  namespaceFor(principal: Principal, name: string | undefined): Promise<Namespace>;
  /** Names by id, of these at least, for views; unknown ids are absent. */
  namespaceNames(ids: readonly number[]): Promise<ReadonlyMap<number, string>>;
}

/** `last_used_at` is written at most this often per token: it tells a forgotten token from a used one, no more. */
const lastUsedSeconds = 60;

const findToken = {
  name: 'accounts_find_token',
  text: `
    select access_tokens.id, access_tokens.token_sha256, users.id as user_id, users.site_admin,
           namespaces.id as namespace_id, namespaces.name,
           coalesce(access_tokens.expires_at <= now(), false) as expired,
           coalesce(access_tokens.last_used_at < now() - make_interval(secs => ${lastUsedSeconds}), true) as stale
    from access_tokens
    join users on users.id = access_tokens.user_id
    join namespaces on namespaces.id = users.namespace_id
    where access_tokens.token_sha256 = $1`,
};

const markUsed = {
  name: 'accounts_mark_token_used',
  // Asked again here: of many requests at the same moment one writes.
  text: `
    update access_tokens set last_used_at = now()
    where id = $1 and (last_used_at is null or last_used_at < now() - make_interval(secs => ${lastUsedSeconds}))`,
};

interface TokenRow {
  id: number;
  token_sha256: Buffer;
  user_id: number;
  site_admin: boolean;
  namespace_id: number;
  name: string;
  expired: boolean;
  stale: boolean;
}

const tokenHint =
  'Send "Authorization: token X". The first site admin\'s access token is in the file admin-token of the instance\'s data directory; the kiln command takes a token from KILN_TOKEN.';

export function createAccounts({ database, log }: { database: Database; log: Logger }): Accounts {
  async function authenticate(authorization: string | undefined): Promise<Principal> {
    const read = readAuthorization(authorization);
    if ('mistake' in read) throw new ApiError(401, 'unauthenticated', read.mistake, tokenHint);
    const hash = hashAccessToken(read.token);
    const [row] = await database.query<TokenRow>(findToken, [hash]);
    if (!row || !timingSafeEqual(row.token_sha256, hash)) {
      throw new ApiError(401, 'unauthenticated', 'The access token is unknown or was revoked', tokenHint);
    }
    if (row.expired) throw new ApiError(401, 'unauthenticated', 'The access token has expired', tokenHint);
    if (row.stale) {
      // Not awaited: a request must not fail or wait because of a remark about it.
      database.query(markUsed, [row.id]).catch((err: unknown) => {
        log.warn({ err, tokenId: row.id }, 'could not note that an access token was used');
      });
    }
    return {
      userId: row.user_id,
      name: row.name,
      siteAdmin: row.site_admin,
      namespaceId: row.namespace_id,
    };
  }

  /** Names by id; a namespace keeps its name as long as it exists, and views ask for the same few all the time. */
  const knownNames = new Map<number, string>();

  async function authorize(request: FastifyRequest): Promise<Principal> {
    const principal = await authenticate(request.headers.authorization);
    rememberPrincipal(request, principal);
    return principal;
  }

  return {
    authenticate,
    async authorize(request) {
      await authorize(request);
    },
    async authorizeSiteAdmin(request) {
      const principal = await authorize(request);
      if (principal.siteAdmin) return;
      throw new ApiError(
        403,
        'forbidden',
        `User "${principal.name}" is not a site admin`,
        'Use the access token of a site admin.',
      );
    },
    async namespaceFor(principal, name) {
      if (name === undefined || name.toLowerCase() === principal.name.toLowerCase()) {
        return { id: principal.namespaceId, name: principal.name, kind: 'user' };
      }
      const [row] = principal.siteAdmin
        ? await database.query<Namespace>(
            'select id, name, kind from namespaces where lower(name) = lower($1)',
            [name],
          )
        : [];
      if (row) return row;
      throw new ApiError(
        400,
        'unknown_namespace',
        `There is no namespace ${JSON.stringify(name)} that user "${principal.name}" may use`,
        `Leave "namespace" out to use "${principal.name}".`,
      );
    },
    async namespaceNames(ids) {
      const unknown = [...new Set(ids)].filter((id) => !knownNames.has(id));
      if (unknown.length > 0) {
        const rows = await database.query<{ id: number; name: string }>(
          'select id, name from namespaces where id = any($1::bigint[])',
          [unknown],
        );
        for (const { id, name } of rows) knownNames.set(id, name);
      }
      return knownNames;
    },
  };
}
