import type {
  CreateOrganization,
  OrganizationRole,
  OrganizationSummary,
  OrganizationView,
} from '@kiln/protocol';
import { ApiError } from '../../api-error.ts';
import type { Database, Executable, Transaction } from '../../database/index.ts';
import { nameTaken } from './namespace-names.ts';
import type { Principal } from './principal.ts';
import { requireUser } from './users.ts';

/**
 * Namespaces of several users. Members and site admins see one; that there are others is nothing that the rest is told.
 * Every method throws ApiError 404 `unknown_organization` for one that the principal may not see.
 */
export interface Organizations {
  /** Those that the principal may see, by name. */
  list(principal: Principal): Promise<OrganizationSummary[]>;
  get(principal: Principal, name: string): Promise<OrganizationView>;
  /** @throws ApiError 404 `unknown_user`, 409 `name_taken` */
  create(principal: Principal, organization: CreateOrganization): Promise<OrganizationView>;
  /**
   * Takes a user in, or gives a member another role. For admins of the organization and site admins.
   * @throws ApiError 403 `not_organization_admin`, 404 `unknown_user`, 409 `last_organization_admin`
   */
  setMember(principal: Principal, name: string, user: string, role: OrganizationRole): Promise<void>;
  /**
   * For admins of the organization and site admins; members remove themselves.
   * @throws ApiError 403 `not_organization_admin`, 404 `unknown_member`, 409 `last_organization_admin`
   */
  removeMember(principal: Principal, name: string, user: string): Promise<void>;
  /** Deletes it as a user is deleted: its jobs are canceled and stay without a name. For site admins. */
  delete(principal: Principal, name: string): Promise<void>;
}

export interface OrganizationsOptions {
  database: Database;
  /** Cancels every job of a namespace that has not ended. */
  cancelJobs(namespaceId: number): Promise<void>;
}

interface OrganizationRow {
  id: number;
  name: string;
  createdAt: Date;
  /** Of the principal. */
  role: OrganizationRole | null;
  members: number;
}

/** $1: user id, $2: whether it sees all. */
const visibleOrganizations = `
  select n.id, n.name, n.created_at as "createdAt", own.role,
    (select count(*)::int from organization_members m where m.organization_id = n.id) as members
  from namespaces n left join organization_members own on own.organization_id = n.id and own.user_id = $1
  where n.kind = 'organization' and ($2 or own.role is not null)`;

export function createOrganizations({ database, cancelJobs }: OrganizationsOptions): Organizations {
  async function view(principal: Principal, name: string): Promise<OrganizationView> {
    const organization = await requireOrganization(database, principal, name);
    const members = await database.query<OrganizationView['members'][number]>(
      `select n.name, m.role from organization_members m
       join users on users.id = m.user_id join namespaces n on n.id = users.namespace_id
       where m.organization_id = $1 order by lower(n.name)`,
      [organization.id],
    );
    return { ...summaryOf(organization), members };
  }

  return {
    async list(principal) {
      const rows = await database.query<OrganizationRow>(`${visibleOrganizations} order by lower(n.name)`, [
        principal.userId,
        principal.siteAdmin,
      ]);
      return rows.map(summaryOf);
    },

    get: view,

    async create(principal, { name, admin = principal.name }) {
      const first = await requireUser(database, admin);
      try {
        await database.query(
          `with made as (insert into namespaces (name, kind) values ($1, 'organization') returning id)
           insert into organization_members (organization_id, user_id, role) select id, $2, 'admin' from made`,
          [name, first.id],
        );
      } catch (error) {
        throw nameTaken(error, name);
      }
      return view(principal, name);
    },

    async setMember(principal, name, userName, role) {
      await changeMembers(principal, name, async (transaction, organization) => {
        requireAdmin(principal, organization);
        const user = await requireUser(transaction, userName);
        await transaction.query(
          `insert into organization_members (organization_id, user_id, role) values ($1, $2, $3)
           on conflict (organization_id, user_id) do update set role = excluded.role`,
          [organization.id, user.id, role],
        );
      });
    },

    async removeMember(principal, name, userName) {
      await changeMembers(principal, name, async (transaction, organization) => {
        if (userName.toLowerCase() !== principal.name.toLowerCase()) requireAdmin(principal, organization);
        const removed = await transaction.query(
          `delete from organization_members m using users, namespaces n
           where m.organization_id = $1 and users.id = m.user_id and n.id = users.namespace_id
             and lower(n.name) = lower($2) returning 1`,
          [organization.id, userName],
        );
        if (removed.length > 0) return;
        throw new ApiError(
          404,
          'unknown_member',
          `There is no member ${JSON.stringify(userName)} of "${organization.name}"`,
        );
      });
    },

    async delete(principal, name) {
      const { id } = await requireOrganization(database, principal, name);
      // Before, so that they are canceled even if this process dies; and after, when no more of them can come.
      await cancelJobs(id);
      await database.query('delete from namespaces where id = $1', [id]);
      await cancelJobs(id);
    },
  };

  /** One change at a time: two admins who leave at the same moment would leave none. */
  async function changeMembers(
    principal: Principal,
    name: string,
    change: (transaction: Transaction, organization: OrganizationRow) => Promise<void>,
  ): Promise<void> {
    await database.transaction(async (transaction) => {
      await transaction.query('select from namespaces where lower(name) = lower($1) for no key update', [
        name,
      ]);
      const organization = await requireOrganization(transaction, principal, name);
      await change(transaction, organization);
      const admins = await transaction.query(
        `select from organization_members where organization_id = $1 and role = 'admin' limit 1`,
        [organization.id],
      );
      if (admins.length > 0) return;
      throw new ApiError(
        409,
        'last_organization_admin',
        `"${organization.name}" would have no admin left`,
        'Make another member an admin first.',
      );
    });
  }
}

async function requireOrganization(
  database: Executable,
  principal: Principal,
  name: string,
): Promise<OrganizationRow> {
  const [row] = await database.query<OrganizationRow>(
    `${visibleOrganizations} and lower(n.name) = lower($3)`,
    [principal.userId, principal.siteAdmin, name],
  );
  if (row) return row;
  throw new ApiError(404, 'unknown_organization', `There is no organization ${JSON.stringify(name)}`);
}

function requireAdmin(principal: Principal, organization: OrganizationRow): void {
  if (principal.siteAdmin || organization.role === 'admin') return;
  throw new ApiError(
    403,
    'not_organization_admin',
    `User "${principal.name}" is not an admin of "${organization.name}"`,
    `Ask one of its admins, whom "kiln org show ${organization.name}" lists, or a site admin`,
  );
}

function summaryOf({ name, role, members, createdAt }: OrganizationRow): OrganizationSummary {
  return { name, role, members, createdAt: createdAt.toISOString() };
}
