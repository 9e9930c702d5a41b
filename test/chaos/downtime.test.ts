import { afterAll, beforeAll, expect, test } from 'vitest';
import { greeting, mark, readJob } from './executor.ts';
import { startFlow } from './flow.ts';
import { chooseSeed } from './random.ts';
import { type ChaosSite, startChaosSite } from './site.ts';

/** The time in which no instance ran does not count against executors that worked on meanwhile. */

let site: ChaosSite;
const seed = chooseSeed();
beforeAll(async () => {
  site = await startChaosSite();
});
afterAll(() => site[Symbol.asyncDispose]());

const jobCount = 20;
const downtime = '10 minutes';
const hungryExecutors = 8;

test('20 jobs that end while no instance runs are completed, and none is run again', async () => {
  await using flow = await startFlow(site, seed);
  const { ledger, wire, random, urls } = flow;
  await flow.submitMany(jobCount);
  const held = await Promise.all(
    Array.from({ length: jobCount }, async (_, index) => {
      // Half of them do not confirm their claim in time: the reply had just arrived.
      const executorName = `away-${index}`;
      const me = { name: executorName, extensions: true };
      const reply = await wire.executor(random.of(urls), 'dequeue', { ...greeting(me), waitSeconds: 20 });
      expect(reply.status).toBe(200);
      const job = readJob(reply.body, executorName);
      if (index % 2 === 0) {
        const body = { ...greeting(me), version: 'V2', jobIds: [job.id] };
        expect(await wire.executor(random.of(urls), 'heartbeat', body)).toMatchObject({
          status: 200,
          body: { knownIds: [String(job.id)] },
        });
      }
      const { id: jobId, ...rest } = job;
      return { job, run: ledger.began({ jobId, ...rest }) };
    }),
  );

  await Promise.all(site.instances.map((instance) => instance.kill()));
  // As if it had been so long: everything that was stored is that much older.
  await site.query(`with beat as (update beat set at = at - interval '${downtime}')
    update jobs set
      lease_expires_at = lease_expires_at - interval '${downtime}', confirm_by = confirm_by - interval '${downtime}',
      deadline_at = deadline_at - interval '${downtime}', started_at = started_at - interval '${downtime}'
    where state = 'processing'`);
  const marking = (some: typeof held) =>
    some.map(({ job, run }) => mark({ ...executorDefaults, name: job.executorName, ...flow }, job, run));
  // Half of them knock all the time, and are the first at the door; the others come later than those who are hungry.
  const early = marking(held.filter((_, index) => index % 4 < 2));
  await Promise.all(site.instances.map((instance) => instance.start()));
  const hungry = await Promise.all(
    Array.from({ length: hungryExecutors }, (_, index) =>
      wire.executor(random.of(urls), 'dequeue', {
        ...greeting({ name: `hungry-${index}`, extensions: true }),
        waitSeconds: 12,
      }),
    ),
  );
  await Promise.all([...early, ...marking(held.filter((_, index) => index % 4 >= 2))]);

  expect(hungry.map(({ status }) => status)).toEqual(hungry.map(() => 204));
  expect(held.map(({ run }) => run.answer)).toEqual(held.map(() => 'accepted'));
  expect(await flow.finish(10)).toEqual([]);
  expect(await site.query('select from jobs where attempt <> 1 or resets <> 0')).toEqual([]);
});

const executorDefaults = {
  extensions: true,
  workMilliseconds: [0, 0] as const,
  signal: new AbortController().signal,
};
