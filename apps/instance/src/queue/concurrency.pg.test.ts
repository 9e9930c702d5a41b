import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';
import { createDatabase, type Database } from '../database/index.ts';
import { createQueue } from './create-queue.ts';
import type { ClaimedJob, DequeueRequest, Queue } from './queue.ts';
import { enqueue, forever } from './testing/queue-kit.ts';
import { findJobRow } from './views.ts';

const log = pino({ level: 'silent' });

describe('two instances on one database', () => {
  let test: TestDatabase;
  let secondDatabase: Database;
  let first: Queue;
  let second: Queue;
  beforeAll(async () => {
    test = await startTestDatabase();
    secondDatabase = createDatabase({ connection: test.connection, log });
  });
  afterAll(async () => {
    await secondDatabase[Symbol.asyncDispose]();
    await test[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await test.database.query('delete from jobs');
    await test.database.query('delete from lanes');
    first = await createQueue({ database: test.database, log });
    second = await createQueue({ database: secondDatabase, log });
  });
  afterEach(async () => {
    await first[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
  });

  const dequeue = (queue: Queue, executorName: string, request: Partial<DequeueRequest> = {}) =>
    queue.dequeue({
      executorName,
      queues: ['batches', 'codeintel', 'jobs'],
      limits: true,
      confirm: true,
      waitSeconds: 0,
      signal: forever,
      ...request,
    });

  it('never give a job to two of 64 executors, and finish each once', async () => {
    const ids = new Set<number>();
    await test.database.transaction(async (transaction) => {
      for (let i = 0; i < 600; i++) {
        const queue = i % 3 === 0 ? 'batches' : 'jobs';
        ids.add(
          await first.enqueue(transaction, { ...plainJob, queue, tenant: i % 7, needsLimits: i % 5 === 0 }),
        );
      }
    });
    const claims: ClaimedJob[] = [];
    await Promise.all(
      Array.from({ length: 64 }, async (_, index) => {
        const queue = index % 2 === 0 ? first : second;
        const executorName = `executor-${index}`;
        for (;;) {
          const job = await dequeue(queue, executorName, { limits: index % 4 !== 0 });
          if (!job) return;
          claims.push(job);
          const other = index % 3 === 0 ? second : first;
          expect(
            await other.mark({ jobId: job.id, executorName, attempt: job.attempt }, 'complete', '', []),
          ).toEqual({
            state: 'completed',
            repeated: false,
          });
        }
      }),
    );
    expect(claims).toHaveLength(600);
    expect(new Set(claims.map(({ id }) => id))).toEqual(ids);
    expect(claims.every(({ attempt }) => attempt === 1)).toBe(true);
    expect(new Set(claims.map(({ token }) => token)).size).toBe(600);
    expect(await test.database.query('select from lanes where waiting <> 0 or waiting_plain <> 0')).toEqual(
      [],
    );
  });

  it('wake a held dequeue for a job of the other one', async () => {
    const held = dequeue(first, 'a', { waitSeconds: 30 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const started = performance.now();
    const id = await enqueue(secondDatabase, second);
    expect((await held)?.id).toBe(id);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it('answer a held dequeue with nothing when its time is up', async () => {
    const started = performance.now();
    expect(await dequeue(first, 'a', { waitSeconds: 0.3 })).toBeNull();
    expect(performance.now() - started).toBeGreaterThanOrEqual(290);
  });

  it('give nothing to a client that went away', async () => {
    const gone = new AbortController();
    const held = dequeue(first, 'gone', { waitSeconds: 30, signal: gone.signal });
    gone.abort();
    expect(await held).toBeNull();
    const id = await enqueue(test.database, first);
    expect(await dequeue(first, 'gone', { signal: gone.signal })).toBeNull();
    expect((await dequeue(first, 'here'))?.id).toBe(id);
  });

  it('take a job back from a client that goes away while it is claimed', async () => {
    let returned = 0;
    for (let i = 0; i < 30; i++) {
      const id = await enqueue(test.database, first);
      const gone = new AbortController();
      const claimed = dequeue(first, 'gone', { signal: gone.signal });
      // Sooner or later than the claim: each time at another moment of it.
      setTimeout(() => gone.abort(), i / 6);
      const job = await claimed;
      if (job) await first.unclaim(job);
      else returned++;
      const next = await dequeue(second, 'here', { waitSeconds: 10 });
      expect(next?.id).toBe(id);
      await second.mark({ jobId: id, executorName: 'here' }, 'complete', '', []);
      expect((await findJobRow(test.database, id))?.resets).toBe(0);
    }
    expect(returned).toBeGreaterThan(0);
  });

  it('lose no wake-up when their connections are cut', async () => {
    for (let i = 0; i < 5; i++) {
      const held = dequeue(first, 'a', { waitSeconds: 30 });
      await secondDatabase.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'kiln listener'`,
      );
      const id = await enqueue(secondDatabase, second);
      const started = performance.now();
      expect((await held)?.id).toBe(id);
      expect(performance.now() - started).toBeLessThan(10_000);
      await first.mark({ jobId: id, executorName: 'a' }, 'complete', '', []);
    }
  });

  it('tell watchers of the other one about changes', async () => {
    const id = await enqueue(test.database, first);
    const states: (string | undefined)[] = [];
    using _watch = second.watch(id, async () => {
      states.push((await findJobRow(secondDatabase, id))?.state);
    });
    await dequeue(first, 'a');
    await expect.poll(() => states.at(-1)).toBe('processing');
    await first.mark({ jobId: id, executorName: 'a' }, 'failed', 'x', []);
    await expect.poll(() => states.at(-1)).toBe('failed');
    await first.retry(id);
    await expect.poll(() => states.at(-1)).toBe('queued');
  });

  it('find the jobs of a lane that somebody held for a moment', async () => {
    const id = await enqueue(test.database, first, { tenant: 1 });
    const free = await holdLane(1);
    const claimed = dequeue(first, 'a');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await free();
    expect((await claimed)?.id).toBe(id);
  });

  it('serve other tenants while a transaction holds one tenant’s lane', async () => {
    const held = await enqueue(test.database, first, { tenant: 1 });
    const other = await enqueue(test.database, first, { tenant: 2 });
    const free = await holdLane(1);
    expect((await dequeue(first, 'a'))?.id).toBe(other);
    expect(await dequeue(first, 'a')).toBeNull();
    const claimed = dequeue(second, 'b', { waitSeconds: 10 });
    await free();
    expect((await claimed)?.id).toBe(held);
  });

  it('look after other leases while transactions hold a lane and a job', async () => {
    const [held, inHeldLane, lost] = [
      await enqueue(test.database, first, { tenant: 1 }),
      await enqueue(test.database, first, { tenant: 2 }),
      await enqueue(test.database, first, { tenant: 3 }),
    ];
    for (let i = 0; i < 3; i++) await dequeue(first, 'a');
    await test.database.query(`update jobs set lease_expires_at = now() - interval '1 second'`);
    const free = await holdLane(2);
    const holder = await holdJob(held);
    expect((await dequeue(second, 'b', { waitSeconds: 10 }))?.id).toBe(lost);
    await holder();
    await free();
    const rest = [
      await dequeue(second, 'b', { waitSeconds: 10 }),
      await dequeue(second, 'b', { waitSeconds: 10 }),
    ];
    expect(rest.map((job) => job?.id).sort()).toEqual([held, inHeldLane].sort());
  });

  it('mark other jobs while a transaction holds one job’s row', async () => {
    const ids = [await enqueue(test.database, first), await enqueue(test.database, first)];
    await Promise.all(ids.map(() => dequeue(first, 'a')));
    const free = await holdJob(ids[0] ?? 0);
    const [stuck, fine] = ids.map((id) => first.mark({ jobId: id, executorName: 'a' }, 'complete', '', []));
    expect(await fine).toMatchObject({ state: 'completed' });
    await free();
    // It was told of the held row, or waited for it.
    await stuck?.catch((error: unknown) => expect(String(error)).toMatch(/lock timeout/));
  });

  it('go on at full speed for other tenants while a transaction holds a lane and a job', async () => {
    const heldJob = await enqueue(test.database, first, { tenant: 1 });
    await dequeue(first, 'a');
    const freeJob = await holdJob(heldJob);
    const freeLane = await holdLane(1);
    const job = (tenant: number) => ({ ...plainJob, queue: 'jobs', tenant, needsLimits: false }) as const;
    const stuck = Promise.allSettled([
      first.mark({ jobId: heldJob, executorName: 'a' }, 'complete', '', []),
      first.touch({ jobId: heldJob, executorName: 'a' }),
      // More than the pool has connections, and each of them has to wait for the lane.
      ...Array.from({ length: 60 }, () => first.enqueueWithRecord(job(1), noRecord)),
    ]);
    const begun = performance.now();
    for (let i = 0; i < 100; i++) {
      const { id } = await first.enqueueWithRecord(job(2), noRecord);
      expect((await dequeue(first, 'a'))?.id).toBe(id);
      const caller = { jobId: id, executorName: 'a' };
      expect(await first.touch(caller)).toEqual({ attempt: 1 });
      expect(await first.mark(caller, 'complete', '', [])).toMatchObject({ state: 'completed' });
    }
    // One of the calls waiting for a held row would have taken longer than this.
    expect(performance.now() - begun).toBeLessThan(20_000);
    await freeJob();
    await freeLane();
    for (const end of await stuck) {
      if (end.status === 'rejected') expect(String(end.reason)).toMatch(/lock timeout/);
    }
  });

  const holdLane = (tenant: number) => hold('select from lanes where tenant = $1 for update', tenant);
  const holdJob = (id: number) => hold('select from jobs where id = $1 for update', id);

  /** A transaction that holds a row until the returned function is called. */
  async function hold(lock: string, key: number): Promise<() => Promise<void>> {
    const held = Promise.withResolvers<void>();
    const free = Promise.withResolvers<void>();
    const holder = test.database.transaction(async (transaction) => {
      await transaction.query(lock, [key]);
      held.resolve();
      await free.promise;
    });
    await held.promise;
    return () => {
      free.resolve();
      return holder;
    };
  }
});

const noRecord = { insert: { name: 'none', text: 'select from call' }, json: '{}' };

const plainJob = {
  producer: 'jobs',
  priority: 0,
  timeoutSeconds: 60,
  repositoryName: null,
};
