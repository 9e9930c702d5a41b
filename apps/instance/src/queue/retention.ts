import type { Executable } from '../database/index.ts';

const hasEnded = `state in ('completed', 'failed', 'canceled')`;

/** Ids of jobs that ended more than `days` ago, at most `limit`. */
export async function findEndedJobs(database: Executable, days: number, limit: number): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    // Not parameters: the plan is for these values, so that few old rows are not looked for in the whole history.
    `select id from jobs
      where ${hasEnded} and finished_at < kiln_now() - make_interval(days => ${Math.trunc(days)}) limit ${limit}`,
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
          select id from jobs
          where id = any($2::bigint[]) and ${hasEnded} and finished_at < kiln_now() - make_interval(days => $1)
          order by id for update skip locked
        )
        delete from jobs using old where jobs.id = old.id returning jobs.id`,
    },
    [days, ids],
  );
  return rows.map(({ id }) => id);
}
