import type { Executable } from '../database/index.ts';

const isOld = `state in ('completed', 'failed', 'canceled') and finished_at < kiln_now() - make_interval(days => $1)`;

/** Ids of jobs that ended more than `days` ago, at most `limit`. */
export async function findEndedJobs(database: Executable, days: number, limit: number): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    { name: 'queue_find_ended', text: `select id from jobs where ${isOld} limit $2` },
    [days, limit],
  );
  return rows.map(({ id }) => id).sort((a, b) => a - b);
}

/**
 * Deletes these jobs with everything that refers to them (`on delete cascade`), unless they were queued again since
 * they were found. Returns the ids of those it deleted.
 */
export async function deleteEndedJobs(
  database: Executable,
  ids: readonly number[],
  days: number,
): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    {
      name: 'queue_delete_ended',
      text: `with old as (
          select id from jobs where id = any($2::bigint[]) and ${isOld} order by id for update skip locked
        )
        delete from jobs using old where jobs.id = old.id returning jobs.id`,
    },
    [days, ids],
  );
  return rows.map(({ id }) => id);
}
