import type { CreateUser, SetPassword, UserView } from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';
import type { Executable } from '../../database/index.ts';
import { type DeleteUserOptions, deleteUser } from './delete-user.ts';
import { requireOtherSiteAdmin } from './last-admin.ts';
import { nameTaken } from './namespace-names.ts';
import { hashPassword } from './passwords.ts';
import type { Principal } from './principal.ts';
import { endSessions } from './sessions.ts';
import { type SignedIn, signIn, wrongCredentials } from './sign-in.ts';

export interface Users {
  /** By name. */
  list(): Promise<UserView[]>;
  /** @throws ApiError 404 `unknown_user` */
  get(name: string): Promise<UserView>;
  /** @throws ApiError 409 `name_taken` */
  create(user: CreateUser): Promise<UserView>;
  /**
   * Sets the password of the principal, or as a site admin anybody's, and ends all sessions of that user but the
   * principal's own.
   * @param address of the peer
   * @throws ApiError 401 `wrong_credentials`, 404 `unknown_user`, 429 `too_many_attempts`
   */
  setPassword(principal: Principal, name: string, change: SetPassword, address: string): Promise<void>;
  /** @throws ApiError 404 `unknown_user`, 409 `last_site_admin` */
  setSiteAdmin(name: string, siteAdmin: boolean): Promise<void>;
  /**
   * Deletes a user with access tokens, sessions and namespace, whose jobs are canceled and stay without a name; other
   * jobs and uses of secrets forget who it was.
   * @throws ApiError 404 `unknown_user`, 409 `last_site_admin`, `last_organization_admin`
   */
  delete(name: string): Promise<void>;
}

interface UserRow {
  id: number;
  namespaceId: number;
  name: string;
  siteAdmin: boolean;
  hasPassword: boolean;
  createdAt: Date;
}

const userRows = `
  select users.id, users.namespace_id as "namespaceId", namespaces.name, users.site_admin as "siteAdmin",
    users.password_hash is not null as "hasPassword", users.created_at as "createdAt"
  from users join namespaces on namespaces.id = users.namespace_id`;

export function createUsers(options: DeleteUserOptions): Users {
  const { database } = options;
  return {
    async list() {
      const rows = await database.query<UserRow>(`${userRows} order by lower(namespaces.name)`);
      return rows.map(viewOf);
    },

    get: async (name) => viewOf(await requireUser(database, name)),

    async create({ name, siteAdmin, password }) {
      const hash = password === undefined ? null : await hashPassword(password);
      try {
        await database.query(
          `with namespace as (insert into namespaces (name, kind) values ($1, 'user') returning id)
           insert into users (namespace_id, site_admin, password_hash) select id, $2, $3 from namespace`,
          [name, siteAdmin, hash],
        );
      } catch (error) {
        throw nameTaken(error, name);
      }
      return viewOf(await requireUser(database, name));
    },

    async setPassword(principal, name, { password, currentPassword }, address) {
      const user = await requireVisibleUser(database, principal, name);
      const own = user.id === principal.userId;
      const signedIn: SignedIn =
        own && user.hasPassword
          ? await signIn(database, { name: user.name, password: currentPassword ?? '' }, address)
          : user;
      const hash = await hashPassword(password);
      await database.transaction(async (transaction) => {
        const changed = await transaction.query(
          `update users set password_hash = $3 where id = $1 and ($2::text is null or password_hash = $2) returning 1`,
          [user.id, signedIn.verifiedHash ?? null, hash],
        );
        if (changed.length === 0) throw signedIn.verifiedHash ? wrongCredentials() : unknownUser(name);
        const { kind, id } = principal.credential;
        await endSessions(transaction, user.id, own && kind === 'session' ? id : undefined);
      });
    },

    async setSiteAdmin(name, siteAdmin) {
      await database.transaction(async (transaction) => {
        const user = await requireUser(transaction, name);
        if (!siteAdmin) await requireOtherSiteAdmin(transaction, user);
        await transaction.query('update users set site_admin = $2 where id = $1', [user.id, siteAdmin]);
      });
    },

    delete: async (name) => deleteUser(options, await requireUser(database, name)),
  };
}

/** @throws ApiError 404 `unknown_user` */
export async function requireUser(database: Executable, name: string): Promise<UserRow> {
  const [row] = await database.query<UserRow>(`${userRows} where lower(namespaces.name) = lower($1)`, [name]);
  if (row) return row;
  throw unknownUser(name);
}

/**
 * Users see themselves, site admins all; that there are others is nothing that the rest is told.
 * @throws ApiError 404 `unknown_user`
 */
export async function requireVisibleUser(
  database: Executable,
  principal: Principal,
  name: string,
): Promise<UserRow> {
  if (principal.siteAdmin || name.toLowerCase() === principal.name.toLowerCase()) {
    return requireUser(database, name);
  }
  throw unknownUser(name);
}

function unknownUser(name: string): ApiError {
  return new ApiError(404, 'unknown_user', `There is no user ${JSON.stringify(name)}`);
}

function viewOf({ name, siteAdmin, hasPassword, createdAt }: UserRow): UserView {
  return { name, siteAdmin, hasPassword, createdAt: createdAt.toISOString() };
}
