import { changeInBatches, type Database } from '../../database/index.ts';

/** Takes a user from the jobs that it submitted; the jobs stay. */
export async function forgetSubmitter(database: Database, userId: number): Promise<void> {
  await changeInBatches(database, forgetStatement, [userId]);
}

export function forgetStatement(batch: number): string {
  return `update submitted_jobs set user_id = null where job_id in (
    select job_id from submitted_jobs where user_id = $1 limit ${batch}) returning 1`;
}
