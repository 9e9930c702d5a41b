import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../../test/kit/database.ts';
import { unendedJobs } from './cancel-all.ts';
import { forgetStatement } from './forget-submitter.ts';
import { type ListFilter, listJobs, listStatement } from './store.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await startTestDatabase();
  await fill(test);
});
afterAll(() => test[Symbol.asyncDispose]());

describe('lists of jobs', () => {
  const limit = 51;
  // What waits or runs is the oldest here: a walk back from the newest job would meet the whole history first.
  it.each<{ index: string; filter: Omit<ListFilter, 'limit'> }>([
    { index: 'jobs_queued', filter: { state: 'queued' } },
    { index: 'jobs_queued', filter: { state: 'queued', queue: 'jobs' } },
    { index: 'jobs_queued', filter: { state: 'queued', before: 30 } },
    { index: 'jobs_processing', filter: { state: 'processing' } },
    { index: 'jobs_unsuccessful', filter: { state: 'failed' } },
    { index: 'jobs_unsuccessful', filter: { state: 'canceled' } },
    { index: 'jobs_tenant', filter: { tenants: [2] } },
    { index: 'jobs_tenant', filter: { tenants: [1, 2], before: 50_000 } },
    { index: 'jobs_pkey', filter: {} },
    { index: 'jobs_pkey', filter: { state: 'completed' } },
  ])('read $filter by $index, whatever the history', async ({ index, filter }) => {
    const { text, values } = listStatement({ ...filter, limit });
    const plan = await test.database.query<{ 'QUERY PLAN': string }>(
      `explain (analyze, timing off, costs off, summary off) ${text}`,
      values,
    );
    const lines = plan.map((row) => row['QUERY PLAN']).join('\n');
    expect(lines).toContain(`using ${index} on jobs j`);
    expect(lines).not.toContain('Seq Scan');
    const passedOver = [...lines.matchAll(/Rows Removed by Filter: (\d+)/g)].map((match) => Number(match[1]));
    expect(Math.max(0, ...passedOver)).toBeLessThan(200);
  });

  it('have the newest first, and go on where a page ended', async () => {
    const first = await listJobs(test.database, { state: 'queued', limit: 15 });
    expect(first.map(({ id }) => id)).toEqual(Array.from({ length: 15 }, (_, i) => 40 - i));
    const second = await listJobs(test.database, { state: 'queued', before: first.at(-1)?.id, limit });
    expect(second.map(({ id }) => id)).toEqual(Array.from({ length: 25 }, (_, i) => 25 - i));
  });

  it('of several namespaces have the newest of all of them first', async () => {
    const jobs = await listJobs(test.database, { tenants: [1, 3, 99], state: 'queued', limit: 6 });
    expect(jobs.map(({ id, tenant }) => [id, tenant])).toEqual([
      [39, 1],
      [38, 3],
      [36, 1],
      [35, 3],
      [33, 1],
      [32, 3],
    ]);
    expect(await listJobs(test.database, { tenants: [], limit })).toEqual([]);
  });
});

describe('deleting a user or an organization, whatever the history', () => {
  it.each([
    ['what has not ended', unendedJobs, ['jobs_queued', 'jobs_processing']],
    ['what a user submitted', forgetStatement(1000), ['submitted_jobs_user']],
    [
      'the same for the foreign key',
      'update only submitted_jobs set user_id = null where $1::bigint = user_id',
      ['submitted_jobs_user'],
    ],
  ])('finds %s by its indexes', async (_, text, indexes) => {
    const plan = await test.database.query<{ 'QUERY PLAN': string }>(
      `explain (generic_plan, costs off) ${text}`,
    );
    const lines = plan.map((row) => row['QUERY PLAN']).join('\n');
    for (const index of indexes) expect(lines).toContain(index);
    expect(lines).not.toMatch(/Seq Scan|jobs_tenant/);
  });
});

/** 40 queued jobs, 20 running, and after them 60,000 that have ended, of which few did not complete. */
async function fill({ database }: TestDatabase): Promise<void> {
  await database.query(`
    insert into jobs (queue, tenant, producer, state, in_lane, priority, needs_limits, timeout_seconds, attempt,
      executor_name, finished_at, failure_kind)
    select 'jobs', 1 + i % 3, 'jobs', state, state = 'queued', 0, false, 60, 1, 'executor',
      case when i > 60 then now() end, case when state = 'failed' then 'errored' end
    from (
      select i, case when i <= 40 then 'queued' when i <= 60 then 'processing' when i % 2000 = 0 then 'failed'
        when i % 2000 = 1 then 'canceled' else 'completed' end as state
      from generate_series(1, 60060) i
    ) job`);
  await database.query(
    `insert into submitted_jobs (job_id, spec, files, notices) select id, '{}', '[]', '{}' from jobs`,
  );
  await database.query('vacuum analyze');
}
