import type { SecretScope, SecretUse, SecretUseList } from '@kiln/protocol';
import type { Database } from '../../database/index.ts';

export interface UsesFilter {
  scope?: SecretScope | undefined;
  key?: string | undefined;
  first: number;
  /** The `nextCursor` of the page before. */
  after?: number | undefined;
}

type UseRow = Omit<SecretUse, 'usedAt'> & { id: number; usedAt: Date };

/** Which jobs got which secrets, newest first; also of secrets that are gone. */
export async function listUses(
  database: Database,
  { scope, key, first, after }: UsesFilter,
): Promise<SecretUseList> {
  const rows = await database.query<UseRow>(
    `select u.id, u.scope, u.key, u.version, u.job_id as "jobId", u.attempt, u.executor, n.name as user, u.cause,
       u.used_at as "usedAt"
     from executor_secret_uses u
     left join users on users.id = u.user_id
     left join namespaces n on n.id = users.namespace_id
     where ($1::text is null or u.scope = $1) and ($2::text is null or u.key = $2) and ($3::bigint is null or u.id < $3)
     order by u.id desc limit $4`,
    [scope ?? null, key ?? null, after ?? null, first + 1],
  );
  const page = rows.slice(0, first);
  const last = page.at(-1);
  return {
    uses: page.map(({ id: _, usedAt, ...use }) => ({ ...use, usedAt: usedAt.toISOString() })),
    nextCursor: rows.length > first && last ? String(last.id) : null,
  };
}

/** Small, so that other statements never wait long for one of them. */
const usesPerBatch = 1000;

/** Deletes records of uses that are more than `auditDays` old, in batches. @returns how many */
export async function deleteOldUses(
  database: Database,
  auditDays: number,
  signal: AbortSignal,
): Promise<number> {
  for (let deleted = 0; ; ) {
    const rows = await database.query(
      `delete from executor_secret_uses where id in (
         select id from executor_secret_uses where used_at < now() - make_interval(days => $1) limit ${usesPerBatch}
       ) returning 1`,
      [auditDays],
    );
    deleted += rows.length;
    if (rows.length < usesPerBatch || signal.aborted) return deleted;
  }
}
