import type { Database } from '../../database/index.ts';
import type { Logs } from '../../logs/index.ts';
import { deleteEndedJobs, findEndedJobs } from '../../queue/index.ts';

/** Small, so that other statements never wait long for one of them. */
const jobsPerBatch = 200;

/**
 * Deletes jobs that ended more than `jobsDays` ago, with their records, logs and attempts, in batches. Their files
 * become orphans (`deleteOrphanFiles`).
 * @returns how many
 */
export async function deleteOldJobs(
  { database, logs, jobsDays }: { database: Database; logs: Pick<Logs, 'deleteJobs'>; jobsDays: number },
  signal: AbortSignal,
): Promise<number> {
  let deleted = 0;
  while (!signal.aborted) {
    const ids = await findEndedJobs(database, jobsDays, jobsPerBatch);
    // Logs first: a crash in between leaves jobs that the next run finds, not logs that nobody finds.
    await logs.deleteJobs(ids);
    const gone = await deleteEndedJobs(database, ids, jobsDays);
    deleted += gone.length;
    // Rows that another instance holds are skipped; going on would find the same ones again.
    if (gone.length < jobsPerBatch) break;
  }
  return deleted;
}
