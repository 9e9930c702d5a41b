import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../../test/kit/database.ts';
import { deleteOldStatement, forgetStatement, usesStatement } from './uses.ts';

let opened: TestDatabase;
beforeAll(async () => {
  opened = await startTestDatabase();
  await fill(opened);
});
afterAll(() => opened?.[Symbol.asyncDispose]());

/** For any values of its parameters, as the instance has its statements planned. */
async function planOf(text: string): Promise<string> {
  const rows = await opened.database.query<{ 'QUERY PLAN': string }>(
    `explain (generic_plan, costs off) ${text}`,
  );
  return rows.map((row) => row['QUERY PLAN']).join('\n');
}

describe('among many uses of secrets', () => {
  const first = 50;
  test.each([
    ['executor_secret_uses_key', { key: 'RARE', first }],
    ['executor_secret_uses_key', { key: 'RARE', scope: 'JOBS' as const, first, after: 30_000 }],
    ['executor_secret_uses_pkey', { first }],
    ['executor_secret_uses_pkey', { first, after: 30_000 }],
  ])('%s finds those of %j', async (index, filter) => {
    const plan = await planOf(usesStatement(filter));
    expect(plan).toMatch(new RegExp(`using ${index} on executor_secret_uses u\\n`));
    expect(plan).not.toContain('Seq Scan on executor_secret_uses');
  });

  test('those that are old are found where they lie', async () => {
    // As small a share of these rows as a whole batch is of millions.
    const plan = await planOf(deleteOldStatement(365, 10));
    expect(plan).toContain('Bitmap Index Scan on executor_secret_uses_old');
    expect(plan).not.toContain('Seq Scan on executor_secret_uses');
  });
});

test('of a user are found by its id, also by the foreign key', async () => {
  for (const text of [
    forgetStatement(1000),
    'update only executor_secret_uses set user_id = null where $1::bigint = user_id',
  ]) {
    const plan = await planOf(text);
    expect(plan).toContain('executor_secret_uses_user');
    expect(plan).not.toContain('Seq Scan on executor_secret_uses');
  }
});

/** 60,000 of the last days, one in 100 of them of the key RARE. */
async function fill({ database }: TestDatabase): Promise<void> {
  await database.query(
    `insert into executor_secret_uses (secret_id, scope, key, version, job_id, attempt, executor, cause, used_at)
     select gen_random_uuid(), 'JOBS', case when i % 100 = 0 then 'RARE' else 'KEY' || i % 7 end, 1, i, 1, 'executor',
       'requested', now() - make_interval(secs => 60000 - i) from generate_series(1, 60000) i`,
  );
  await database.query('vacuum analyze executor_secret_uses');
}
