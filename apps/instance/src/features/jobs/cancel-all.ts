import type { Database } from '../../database/index.ts';
import type { Queue } from '../../queue/index.ts';

/** Cancels every job of a namespace that has not ended, whoever submitted it. */
export async function cancelAllJobs(
  database: Database,
  queue: Pick<Queue, 'cancel'>,
  namespaceId: number,
): Promise<void> {
  const jobs = await database.query<{ id: number }>(unendedJobs, [namespaceId]);
  for (const { id } of jobs) await queue.cancel(id);
}

/**
 * Ids of the jobs of namespace $1 that have not ended. Materialized: what waits and runs anywhere is little, and has
 * indexes, beside the history of one namespace, which would be walked through otherwise.
 */
export const unendedJobs = `
  with unended as materialized (
    select id, tenant from jobs where state = 'queued'
    union all select id, tenant from jobs where state = 'processing'
  )
  select id from unended where tenant = $1 order by id`;
