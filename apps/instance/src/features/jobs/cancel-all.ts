import type { Database } from '../../database/index.ts';
import type { Queue } from '../../queue/index.ts';

/** Cancels every job of a namespace that has not ended, whoever submitted it. */
export async function cancelAllJobs(
  database: Database,
  queue: Pick<Queue, 'cancel'>,
  namespaceId: number,
): Promise<void> {
  const jobs = await database.query<{ id: number }>(
    `select id from jobs where tenant = $1 and state in ('queued', 'processing') order by id`,
    [namespaceId],
  );
  for (const { id } of jobs) await queue.cancel(id);
}
