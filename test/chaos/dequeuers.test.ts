import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { greeting, orNothing } from './executor.ts';
import { type Flow, startFlow } from './flow.ts';
import { chooseSeed } from './random.ts';
import { type ChaosSite, startChaosSite } from './site.ts';

/** Many who ask for jobs at once, at two instances, and many who do not stay for the answer. */

let site: ChaosSite;
const seed = chooseSeed();
beforeAll(async () => {
  site = await startChaosSite();
});
afterAll(() => site[Symbol.asyncDispose]());

test('64 dequeuers on two instances never share a job', async () => {
  await using flow = await startFlow(site, seed);
  await using _executors = flow.startExecutors(64, { workMilliseconds: [0, 20], plainEvery: 4 });
  await flow.submitMany(300);
  expect(await flow.finish(60)).toEqual([]);
  // Nobody vanished, so nothing was done twice.
  expect(flow.ledger.runs).toHaveLength(300);
  expect(flow.ledger.runs.every(({ attempt = 1 }) => attempt === 1)).toBe(true);
});

test('dequeues whose clients vanish at any moment lose nothing', async () => {
  await using flow = await startFlow(site, seed + 1);
  const over = new AbortController();
  const vanishing = Array.from({ length: 16 }, (_, index) => vanishAgainAndAgain(flow, index, over.signal));
  await using _executors = flow.startExecutors(8, { workMilliseconds: [0, 20] });
  try {
    await flow.submitMany(100);
    // Those who vanish took part to the end, or nearly so.
    await flow.ledger.outcomesReach(50, AbortSignal.timeout(60_000));
  } finally {
    over.abort();
    await Promise.all(vanishing);
  }
  expect(await flow.finish(60)).toEqual([]);
  const taken = await site.query(
    `select ended, count(*)::int from past_attempts where job_id = any($1) group by ended order by ended`,
    [[...flow.ledger.submitted]],
  );
  process.stdout.write(`chaos: claims of clients that were gone: ${JSON.stringify(taken)}\n`);
  expect(taken.length).toBeGreaterThan(0);
});

/** Asks for a job, held, and destroys the connection after a time that may be before, while or after it is claimed. */
async function vanishAgainAndAgain(
  { wire, random, urls }: Flow,
  index: number,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const gone = new AbortController();
    const body = { ...greeting({ name: `vanishing-${index}`, extensions: true }), waitSeconds: 20 };
    const call = orNothing(wire.executor(random.of(urls), 'dequeue', body, gone.signal));
    await sleep(random.between(0, 150));
    gone.abort();
    await call;
  }
}
