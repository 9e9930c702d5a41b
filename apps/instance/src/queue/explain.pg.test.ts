import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';
import { loadStatements } from '../database/index.ts';
import { loadClaimStatements } from './claim-statements.ts';
import { sweepStatements } from './sweep.ts';

const hotStatements = [
  'enqueue',
  'enqueue_many',
  'touch',
  'take_back',
  'mark',
  'give_back',
  'cancel',
  'retry',
] as const;

describe('hot statements', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await startTestDatabase();
    await fill(test);
  });
  afterAll(() => test[Symbol.asyncDispose]());

  const statements = [
    ...Object.values(loadStatements(import.meta.url, './sql/', [...hotStatements, ...sweepStatements])),
    ...Object.values(loadClaimStatements()),
  ];

  // Prepared statements come to a plan for any parameters; it must not depend on how many jobs there are.
  it.each(statements)('$name does not read the jobs one after another', async ({ name, text }) => {
    const plan = await explain(text);
    expect(plan).not.toMatch(/Seq Scan on (jobs|past_attempts)/);
    expect(plan).not.toMatch(
      /Index (Only )?Scan using jobs_(pkey|tenant) on jobs\b(?![^\n]*\n\s+Index Cond)/,
    );
    if (name?.startsWith('claim')) expect(plan).not.toMatch(/Seq Scan on lanes/);
  });

  it('claims by the index of what the executor may have', async () => {
    const { one, many, onePlain, manyPlain } = loadClaimStatements();
    for (const { text } of [one, many]) {
      expect(await explain(text)).toMatch(/using lanes_waiting on lanes[\s\S]*using jobs_lane on jobs/);
    }
    for (const { text } of [onePlain, manyPlain]) {
      expect(await explain(text)).toMatch(
        /using lanes_waiting_plain on lanes[\s\S]*using jobs_lane_plain on jobs/,
      );
    }
  });

  async function explain(text: string): Promise<string> {
    const plan = await test.database.query<{ 'QUERY PLAN': string }>(
      `explain (generic_plan, costs off) ${text}`,
    );
    return plan.map((row) => row['QUERY PLAN']).join('\n');
  }
});

/** 60,000 ended jobs, 10,000 waiting, 500 running, 3000 lanes. */
async function fill({ database }: TestDatabase): Promise<void> {
  await database.query(`
    insert into jobs (queue, tenant, producer, state, in_lane, priority, needs_limits, timeout_seconds, attempt,
      executor_name, lease_expires_at, finished_at, failure_kind)
    select 'jobs', i % 3000, 'jobs', state, state = 'queued', 0, i % 10 = 0, 60, 1, 'executor-' || i % 100,
      case when state = 'processing' then now() + interval '20 s' end,
      case when state in ('completed', 'failed') then now() end, case when state = 'failed' then 'errored' end
    from (
      select i, case when i > 60500 then 'queued' when i > 60000 then 'processing' when i % 20 = 0 then 'failed'
        else 'completed' end as state
      from generate_series(1, 70500) i
    ) job`);
  await database.query(`
    insert into lanes (queue, tenant, served, waiting, waiting_plain)
    select queue, tenant, tenant, count(*), count(*) filter (where not needs_limits)
    from jobs where in_lane group by queue, tenant`);
  await database.query(`
    insert into past_attempts (job_id, attempt, ended_at, ended)
    select id, past, now(), 'lost' from jobs, generate_series(1, 3) past where id % 10 = 0`);
  await database.query('vacuum analyze');
}
