import type { OrganizationRole } from '@kiln/protocol';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import { readAuthorization } from './access-tokens.ts';
import { currentPrincipal, findPrincipal } from './credentials.ts';
import { type Principal, rememberPrincipal } from './principal.ts';
import { type ExternalURL, readSessionCookie, requireSameOrigin } from './session-cookie.ts';

/** A user or an organization, by name. Its id is the tenant of its jobs. */
export interface Namespace {
  id: number;
  name: string;
  kind: 'user' | 'organization';
}

export type NamespaceRole = 'owner' | OrganizationRole;

/**
 * Who may come in: `onRequest` hooks, which refuse before a body is read. What a user may do to one job or one account
 * is up to the feature.
 */
export interface Accounts {
  /**
   * For jobs and repositories: an access token in `Authorization: token X` or `Bearer X`, or a session's cookie.
   * Tokens of scope `read` only read.
   * @throws ApiError 401 `unauthenticated`, 403 `token_scope`, 403 `cross_origin`
   */
  authorize(request: FastifyRequest): Promise<void>;
  /** For everything about accounts: as `authorize`, and 403 `token_scope` for tokens of a lesser scope than `all`. */
  authorizeAccount(request: FastifyRequest): Promise<void>;
  /** As `authorizeAccount`, and 403 `forbidden` unless the user is a site admin. */
  authorizeSiteAdmin(request: FastifyRequest): Promise<void>;
  /**
   * A principal of earlier as it is now, for what goes on after its request was let in; undefined once its access token
   * or session was ended or has expired, or its user was deleted.
   */
  current(principal: Principal): Promise<Principal | undefined>;
  /**
   * The namespace in whose name a principal may act: its own (also when `name` is undefined), that of an organization
   * that it is in, for site admins any.
   * @throws ApiError 400 `unknown_namespace`, also for one that the principal may not use
   */
  namespaceFor(principal: Principal, name: string | undefined): Promise<Namespace>;
  /** Whether a principal may still act in the name of a namespace that `namespaceFor` gave. */
  mayUse(principal: Principal, namespaceId: number): Promise<boolean>;
  /** What a principal is in a namespace: `owner` of its own, or its role in an organization. */
  roleIn(principal: Principal, namespaceId: number): Promise<NamespaceRole | undefined>;
  /** Ids of the namespaces in which a principal is something: its own, and its organizations. */
  namespacesOf(principal: Principal): Promise<number[]>;
  /** Names by id, for views; those of deleted namespaces are absent. */
  namespaceNames(ids: readonly number[]): Promise<ReadonlyMap<number, string>>;
}

export interface AccountsOptions {
  database: Database;
  externalURL: ExternalURL;
  log: Logger;
}

const tokenHint =
  'Send "Authorization: token X". The first site admin\'s access token is in the file admin-token of the instance\'s data directory; the kiln command takes a token from KILN_TOKEN, or makes one with: kiln login';

/** Of namespaces n. $2: user id, $3: whether it may use all. */
const isUsable = `($3 or exists (
  select from organization_members m where m.organization_id = n.id and m.user_id = $2))`;

export function createAccounts({ database, externalURL, log }: AccountsOptions): Accounts {
  async function authenticate(request: FastifyRequest): Promise<Principal> {
    const { authorization } = request.headers;
    const session = authorization === undefined ? readSessionCookie(request, externalURL()) : undefined;
    if (session !== undefined) {
      requireSameOrigin(request, externalURL());
      return findPrincipal({ database, log }, 'session', session, 'Sign in again.');
    }
    const read = readAuthorization(authorization);
    if ('mistake' in read) throw new ApiError(401, 'unauthenticated', read.mistake, tokenHint);
    return findPrincipal({ database, log }, 'token', read.token, tokenHint);
  }

  async function authorizeAccount(request: FastifyRequest): Promise<Principal> {
    const principal = await authenticate(request);
    if (principal.scope !== 'all') throw lesserScope(principal, 'all');
    rememberPrincipal(request, principal);
    return principal;
  }

  return {
    async authorize(request) {
      const principal = await authenticate(request);
      const reads = request.method === 'GET' || request.method === 'HEAD';
      if (principal.scope === 'read' && !reads) throw lesserScope(principal, 'jobs');
      rememberPrincipal(request, principal);
    },
    async authorizeAccount(request) {
      await authorizeAccount(request);
    },
    async authorizeSiteAdmin(request) {
      const principal = await authorizeAccount(request);
      if (principal.siteAdmin) return;
      throw new ApiError(
        403,
        'forbidden',
        `User "${principal.name}" is not a site admin`,
        'Use the access token of a site admin.',
      );
    },
    current: ({ credential }) => currentPrincipal(database, credential),
    async namespaceFor(principal, name) {
      if (name === undefined || name.toLowerCase() === principal.name.toLowerCase()) {
        return { id: principal.namespaceId, name: principal.name, kind: 'user' };
      }
      const [row] = await database.query<Namespace>(
        `select id, name, kind from namespaces n where lower(name) = lower($1) and ${isUsable}`,
        [name, principal.userId, principal.siteAdmin],
      );
      if (row) return row;
      throw new ApiError(
        400,
        'unknown_namespace',
        `There is no namespace ${JSON.stringify(name)} that user "${principal.name}" may use`,
        `Leave "namespace" out to use "${principal.name}".`,
      );
    },
    async mayUse({ userId, siteAdmin, namespaceId: own }, namespaceId) {
      if (namespaceId === own) return true;
      const rows = await database.query(`select from namespaces n where id = $1 and ${isUsable}`, [
        namespaceId,
        userId,
        siteAdmin,
      ]);
      return rows.length > 0;
    },
    async roleIn({ userId, namespaceId: own }, namespaceId) {
      if (namespaceId === own) return 'owner';
      const [row] = await database.query<{ role: OrganizationRole }>(
        'select role from organization_members where organization_id = $1 and user_id = $2',
        [namespaceId, userId],
      );
      return row?.role;
    },
    async namespacesOf({ userId, namespaceId }) {
      const rows = await database.query<{ id: number }>(
        'select organization_id as id from organization_members where user_id = $1',
        [userId],
      );
      return [namespaceId, ...rows.map(({ id }) => id)];
    },
    async namespaceNames(ids) {
      // Asked each time: a name that was remembered would outlive its deleted user.
      const rows = await database.query<{ id: number; name: string }>(
        {
          name: 'accounts_namespace_names',
          text: 'select id, name from namespaces where id = any($1::bigint[])',
        },
        [[...new Set(ids)]],
      );
      return new Map(rows.map(({ id, name }) => [id, name]));
    },
  };
}

function lesserScope({ scope }: Principal, needed: string): ApiError {
  return new ApiError(
    403,
    'token_scope',
    `This access token is of scope "${scope}", which does not allow this`,
    `Use one of scope "${needed}".`,
  );
}
