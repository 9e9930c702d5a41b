import type { SecretScope, SecretUse, SecretUseList } from '@kiln/protocol';
import pg from 'pg';
import { changeInBatches, type Database } from '../../database/index.ts';

export interface UsesFilter {
  scope?: SecretScope | undefined;
  key?: string | undefined;
  first: number;
  /** The `nextCursor` of the page before. */
  after?: number | undefined;
}

type UseRow = Omit<SecretUse, 'usedAt'> & { id: number; usedAt: Date };

/** Which jobs got which secrets, newest first; also of secrets that are gone. */
export async function listUses(database: Database, filter: UsesFilter): Promise<SecretUseList> {
  const { first } = filter;
  const rows = await database.query<UseRow>(usesStatement(filter));
  const page = rows.slice(0, first);
  const last = page.at(-1);
  return {
    uses: page.map(({ id: _, usedAt, ...use }) => ({ ...use, usedAt: usedAt.toISOString() })),
    nextCursor: rows.length > first && last ? String(last.id) : null,
  };
}

/**
 * No parameters: the plan is for these values, so that the few uses of a key are not looked for among all. Where a key
 * may be any or absent, the index on it is of no use.
 */
export function usesStatement({ scope, key, first, after }: UsesFilter): string {
  const conditions = [
    scope && `u.scope = ${pg.escapeLiteral(scope)}`,
    key && `u.key = ${pg.escapeLiteral(key)}`,
    after !== undefined && `u.id < ${Math.trunc(after)}`,
  ].filter(Boolean);
  return `select u.id, u.scope, u.key, u.version, u.job_id as "jobId", u.attempt, u.executor, n.name as user, u.cause,
      u.used_at as "usedAt"
    from executor_secret_uses u
    left join users on users.id = u.user_id
    left join namespaces n on n.id = users.namespace_id
    ${conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`}
    order by u.id desc limit ${Math.trunc(first) + 1}`;
}

/** Takes a user from the uses by its jobs; they stay. */
export async function forgetUserOfSecrets(database: Database, userId: number): Promise<void> {
  await changeInBatches(database, forgetStatement, [userId]);
}

export function forgetStatement(batch: number): string {
  return `update executor_secret_uses set user_id = null where id in (
    select id from executor_secret_uses where user_id = $1 limit ${batch}) returning 1`;
}

/** Deletes records of uses that are more than `auditDays` old, in batches. @returns how many */
export function deleteOldUses(database: Database, auditDays: number, signal: AbortSignal): Promise<number> {
  return changeInBatches(database, (batch) => deleteOldStatement(auditDays, batch), [], signal);
}

/** No parameters: the plan is for these days, so that few old rows are not looked for among all. */
export function deleteOldStatement(auditDays: number, batch: number): string {
  const old = `used_at < now() - make_interval(days => ${Math.trunc(auditDays)})`;
  return `delete from executor_secret_uses where id in (
    select id from executor_secret_uses where ${old} limit ${batch}) returning 1`;
}
