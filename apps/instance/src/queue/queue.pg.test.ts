import { messages } from '@kiln/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type QueueKit, startQueueKit } from './testing/queue-kit.ts';
import { jobsAhead, pastAttempts, queueCounts } from './views.ts';

describe('queue', () => {
  let kit: QueueKit;
  beforeAll(async () => {
    kit = await startQueueKit();
  });
  afterAll(() => kit[Symbol.asyncDispose]());
  beforeEach(() => kit.clear());
  afterEach(() => kit.checkCounters());

  describe('claims', () => {
    it('gives a job to one executor, with a token, and records who has it', async () => {
      const id = await kit.enqueue({ timeoutSeconds: 60 });
      const job = await kit.dequeue('a', { isolation: { runtime: 'microvm', vmm: 'qemu' } });
      expect(job).toEqual({
        id,
        attempt: 1,
        queue: 'jobs',
        producer: 'jobs',
        executorName: 'a',
        timeoutSeconds: 60,
        token: expect.stringMatching(/^[0-9a-f]{40}$/),
      });
      expect(await kit.dequeue('b')).toBeNull();
      expect(await kit.row(id)).toMatchObject({
        state: 'processing',
        attempt: 1,
        executorName: 'a',
        isolation: { runtime: 'microvm', vmm: 'qemu' },
        resets: 0,
      });
    });

    it('orders a lane by priority, then by age', async () => {
      const [old, urgent, young, low] = [
        await kit.enqueue(),
        await kit.enqueue({ priority: 100 }),
        await kit.enqueue(),
        await kit.enqueue({ priority: -100 }),
      ];
      const order = [];
      for (let i = 0; i < 4; i++) order.push((await kit.dequeue('a'))?.id);
      expect(order).toEqual([urgent, old, young, low]);
    });

    it('serves the lanes of tenants in turn, whatever they hold', async () => {
      for (let i = 0; i < 6; i++) await kit.enqueue({ tenant: 1, priority: 100 });
      for (const tenant of [2, 3]) for (let i = 0; i < 2; i++) await kit.enqueue({ tenant });
      const tenants = [];
      for (let i = 0; i < 10; i++) {
        const job = await kit.dequeue('a');
        if (job) tenants.push((await kit.row(job.id)).tenant);
      }
      expect(tenants).toEqual([1, 2, 3, 1, 2, 3, 1, 1, 1, 1]);
    });

    it('serves many executors at once as if they had come one by one', async () => {
      for (let i = 0; i < 20; i++) await kit.enqueue({ tenant: 1 });
      for (let i = 0; i < 3; i++) await kit.enqueue({ tenant: 2 });
      const jobs = await Promise.all(Array.from({ length: 6 }, (_, index) => kit.dequeue(`e${index}`)));
      const tenants = await Promise.all(jobs.map(async (job) => (await kit.row(job?.id ?? 0)).tenant));
      expect(tenants).toEqual([1, 2, 1, 2, 1, 2]);
      expect(new Set(jobs.map((job) => job?.id)).size).toBe(6);
    });

    it('keeps jobs that need limits from executors that do not know them', async () => {
      const needy = await kit.enqueue({ needsLimits: true, priority: 100 });
      const plain = await kit.enqueue();
      expect((await kit.dequeue('old', { limits: false }))?.id).toBe(plain);
      expect(await kit.dequeue('old', { limits: false })).toBeNull();
      expect((await kit.dequeue('new', { limits: true }))?.id).toBe(needy);
    });

    it('takes jobs only from the queues that were asked for, and weighs those', async () => {
      for (let i = 0; i < 20; i++) {
        await kit.enqueue({ queue: 'batches' });
        await kit.enqueue({ queue: 'codeintel' });
      }
      expect(await kit.dequeue('a', { queues: ['jobs'] })).toBeNull();
      const queues: (string | undefined)[] = [];
      for (let i = 0; i < 20; i++) {
        queues.push((await kit.dequeue('a', { queues: ['batches', 'codeintel', 'jobs'] }))?.queue);
      }
      expect(queues.filter((queue) => queue === 'batches')).toHaveLength(16);
      expect(queues.filter((queue) => queue === 'codeintel')).toHaveLength(4);
    });
  });

  describe('leases', () => {
    it('returns the job of a vanished executor to the head of its lane, and refuses the old attempt', async () => {
      const id = await kit.enqueue();
      await kit.enqueue({ priority: 100 });
      const urgent = await kit.dequeue('a');
      const first = await kit.dequeue('a');
      expect(first?.id).toBe(id);
      await kit.queue.mark({ jobId: urgent?.id ?? 0, executorName: 'a' }, 'complete', '', []);
      await kit.enqueue({ priority: 100 });
      await kit.pass(24);
      expect(await kit.dequeue('b', { queues: ['batches'] })).toBeNull();
      await kit.pass(2);
      const second = await kit.dequeue('b');
      expect(second).toMatchObject({ id, attempt: 2 });
      expect(await kit.row(id)).toMatchObject({ resets: 1, executorName: 'b' });
      expect(await pastAttempts(kit.database, id)).toMatchObject([
        { attempt: 1, executor: 'a', ended: 'lost' },
      ]);
      expect(await kit.heartbeat('a', id)).toEqual({ known: [], cancel: [] });
      expect(await kit.queue.touch({ jobId: id, executorName: 'a', attempt: 1 })).toEqual({
        refused: 'stale',
      });
      expect(await kit.queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'complete', '', [])).toEqual({
        refused: 'stale',
      });
      expect(await kit.queue.mark({ jobId: id, executorName: 'a' }, 'complete', '', [])).toEqual({
        refused: 'unknown',
      });
      expect(await kit.queue.release({ jobId: id, executorName: 'a', attempt: 1 }, 'drain', '')).toEqual({
        refused: 'stale',
      });
      expect(await kit.queue.tokenClaims(first?.token ?? '')).toBeUndefined();
      expect(await kit.queue.tokenClaims(second?.token ?? '')).toMatchObject({
        jobId: id,
        attempt: 2,
        ended: false,
      });
      expect(await kit.row(id)).toMatchObject({ state: 'processing', executorName: 'b', attempt: 2 });
    });

    it.each(['heartbeat', 'touch'] as const)('is extended by a %s', async (by) => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      for (let i = 0; i < 10; i++) {
        await kit.pass(20);
        if (by === 'heartbeat') expect(await kit.heartbeat('a', id)).toEqual({ known: [id], cancel: [] });
        else expect(await kit.queue.touch({ jobId: id, executorName: 'a' })).toEqual({ attempt: 1 });
      }
      expect(await kit.dequeue('b')).toBeNull();
      expect(await kit.row(id)).toMatchObject({ attempt: 1, resets: 0 });
    });

    it.each(['heartbeat', 'touch', 'mark'] as const)(
      'that ran out is taken back by a %s until somebody else claims',
      async (by) => {
        const id = await kit.enqueue();
        const job = await kit.dequeue('a');
        await kit.pass(100);
        expect(await kit.queue.tokenClaims(job?.token ?? '')).toMatchObject({ attempt: 1 });
        if (by === 'heartbeat') expect(await kit.heartbeat('a', id)).toEqual({ known: [id], cancel: [] });
        if (by === 'touch')
          expect(await kit.queue.touch({ jobId: id, executorName: 'a', attempt: 1 })).toEqual({ attempt: 1 });
        if (by === 'mark') {
          expect(await kit.queue.mark({ jobId: id, executorName: 'a' }, 'complete', '', [])).toMatchObject({
            state: 'completed',
          });
        }
        expect(await kit.dequeue('b')).toBeNull();
        expect(await kit.row(id)).toMatchObject({ attempt: 1, resets: 0 });
      },
    );

    it('fails a job that was lost after three resets', async () => {
      const id = await kit.enqueue();
      for (let attempt = 1; attempt <= 4; attempt++) {
        expect(await kit.dequeue('a')).toMatchObject({ id, attempt });
        await kit.pass(26);
      }
      expect(await kit.row(id)).toMatchObject({
        state: 'failed',
        failureKind: 'lost',
        failureMessage: messages.lostTooOften,
        resets: 3,
        attempt: 4,
      });
      expect(await kit.dequeue('a')).toBeNull();
      expect(await kit.queue.mark({ jobId: id, executorName: 'a' }, 'complete', '', [])).toEqual({
        refused: 'unknown',
      });
    });

    it('is not shortened by time in which no instance ran', async () => {
      const ids = await Promise.all(Array.from({ length: 20 }, () => kit.enqueue()));
      for (const _ of ids) await kit.dequeue('a', { confirm: true });
      await kit.jump(600);
      await kit.sweep();
      await kit.pass(29);
      expect(await kit.dequeue('b')).toBeNull();
      for (const id of ids) {
        expect(
          await kit.queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'complete', '', []),
        ).toEqual({
          state: 'completed',
          repeated: false,
        });
      }
    });

    it('that had run out before the instances stopped stays run out', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      await kit.pass(26);
      await kit.jump(600);
      await kit.sweep();
      expect(await kit.dequeue('b')).toMatchObject({ id, attempt: 2 });
    });

    it('is moved with a clock that is set back, and forward', async () => {
      const id = await kit.enqueue({ timeoutSeconds: 60 });
      await kit.dequeue('a');
      await kit.jump(-7200);
      await kit.sweep();
      await kit.pass(20);
      expect(await kit.heartbeat('a', id)).toMatchObject({ known: [id] });
      await kit.jump(7200);
      await kit.sweep();
      expect(await kit.heartbeat('a', id)).toEqual({ known: [id], cancel: [] });
      await kit.pass(24);
      expect(await kit.dequeue('b')).toBeNull();
      // Like a time without instances: the lease was given 30 s on top.
      await kit.pass(32);
      expect(await kit.dequeue('b')).toMatchObject({ id, attempt: 2 });
    });

    it('reaches no further than it may when the clock was set back while no instance ran', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      await kit.jump(-7200);
      await kit.database.query("update beat set at = kiln_now() - interval '1 second'");
      await kit.sweep();
      await kit.pass(26);
      expect(await kit.dequeue('b')).toMatchObject({ id, attempt: 2 });
    });
  });

  describe('confirmation', () => {
    it('returns a claim that nobody confirmed after 10 s, without a reset', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a', { confirm: true });
      await kit.pass(9);
      expect(await kit.dequeue('b')).toBeNull();
      await kit.pass(2);
      expect(await kit.dequeue('b', { confirm: true })).toMatchObject({ id, attempt: 2 });
      expect(await kit.row(id)).toMatchObject({ resets: 0 });
      expect(await pastAttempts(kit.database, id)).toMatchObject([{ attempt: 1, ended: 'unconfirmed' }]);
    });

    it.each(['heartbeat', 'touch'] as const)('is given by a %s', async (by) => {
      const id = await kit.enqueue();
      await kit.dequeue('a', { confirm: true });
      await kit.pass(5);
      if (by === 'heartbeat') await kit.heartbeat('a', id);
      else await kit.queue.touch({ jobId: id, executorName: 'a' });
      await kit.pass(20);
      expect(await kit.dequeue('b')).toBeNull();
    });

    it('is not asked of executors that do not know it', async () => {
      await kit.enqueue();
      await kit.dequeue('a', { confirm: false });
      await kit.pass(20);
      expect(await kit.dequeue('b')).toBeNull();
    });

    it('counts three missing ones in a row as a reset, and fails the job in the end', async () => {
      const id = await kit.enqueue();
      const resets = [];
      for (let attempt = 1; attempt <= 12; attempt++) {
        expect(await kit.dequeue('a', { confirm: true })).toMatchObject({ attempt });
        resets.push((await kit.row(id)).resets);
        await kit.pass(11);
      }
      expect(resets).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
      expect(await kit.row(id)).toMatchObject({ state: 'failed', failureKind: 'lost' });
    });

    it('starts the row anew', async () => {
      const id = await kit.enqueue();
      for (let attempt = 1; attempt <= 6; attempt++) {
        await kit.dequeue('a', { confirm: true });
        if (attempt === 2) {
          await kit.heartbeat('a', id);
          await kit.queue.release({ jobId: id, executorName: 'a' }, 'drain', '');
        } else await kit.pass(11);
        expect((await kit.row(id)).resets).toBe(attempt === 6 ? 1 : 0);
      }
    });
  });

  describe('marks', () => {
    it.each([
      ['complete', 'completed', null],
      ['errored', 'failed', 'errored'],
      ['failed', 'failed', 'failed'],
    ] as const)('end a job: %s', async (kind, state, failureKind) => {
      const id = await kit.enqueue();
      const job = await kit.dequeue('a');
      const usage = [{ key: 'step.docker.0', cpuSeconds: 1.5 }];
      expect(await kit.queue.mark({ jobId: id, executorName: 'a' }, kind, 'it broke', usage)).toEqual({
        state,
        repeated: false,
      });
      expect(await kit.row(id)).toMatchObject({
        state,
        failureKind,
        failureMessage: kind === 'complete' ? null : 'it broke',
        usage,
        executorName: 'a',
        finishedAt: expect.any(Date),
      });
      expect(await kit.queue.tokenClaims(job?.token ?? '')).toMatchObject({ ended: true });
      expect(await kit.heartbeat('a', id)).toEqual({ known: [], cancel: [] });
      expect(await kit.queue.touch({ jobId: id, executorName: 'a' })).toEqual({ refused: 'unknown' });
    });

    it('may be repeated for 24 hours, but not changed', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      const caller = { jobId: id, executorName: 'a', attempt: 1 };
      await kit.queue.mark(caller, 'failed', 'first', []);
      await kit.jump(23 * 3600);
      expect(await kit.queue.mark(caller, 'failed', 'again', [])).toEqual({
        state: 'failed',
        repeated: true,
      });
      expect(await kit.queue.mark(caller, 'complete', '', [])).toEqual({ refused: 'different' });
      expect(await kit.queue.mark({ ...caller, executorName: 'b' }, 'failed', '', [])).toEqual({
        refused: 'unknown',
      });
      expect(await kit.row(id)).toMatchObject({ state: 'failed', failureMessage: 'first' });
      await kit.jump(2 * 3600);
      expect(await kit.queue.mark(caller, 'failed', 'again', [])).toEqual({ refused: 'unknown' });
    });

    it('of the same job in one statement end it once', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      const results = await Promise.all([
        kit.queue.mark({ jobId: id, executorName: 'a' }, 'complete', '', []),
        kit.queue.mark({ jobId: id, executorName: 'a' }, 'failed', 'no', []),
        kit.queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'complete', '', []),
        kit.queue.mark({ jobId: id, executorName: 'b' }, 'complete', '', []),
      ]);
      expect(results).toEqual([
        { state: 'completed', repeated: false },
        { refused: 'different' },
        { state: 'completed', repeated: true },
        { refused: 'unknown' },
      ]);
    });

    it('of others, of unknown jobs and of queued jobs are refused', async () => {
      const id = await kit.enqueue();
      const mark = (jobId: number, attempt?: number) =>
        kit.queue.mark({ jobId, executorName: 'a', attempt }, 'complete', '', []);
      expect(await mark(id)).toEqual({ refused: 'unknown' });
      await kit.dequeue('b');
      expect(await mark(id)).toEqual({ refused: 'unknown' });
      expect(await mark(id, 1)).toEqual({ refused: 'unknown' });
      expect(await kit.queue.mark({ jobId: id, executorName: 'b', attempt: 2 }, 'complete', '', [])).toEqual({
        refused: 'unknown',
      });
      for (const nonsense of [id + 1, 0, -1, 1.5, Number.NaN, 1e21, Number.MAX_SAFE_INTEGER]) {
        expect(await mark(nonsense)).toEqual({ refused: 'unknown' });
      }
      expect(await mark(id, Number.MAX_SAFE_INTEGER)).toEqual({ refused: 'unknown' });
      expect((await kit.row(id)).state).toBe('processing');
    });

    it('take any text', async () => {
      const [first, second] = [await kit.enqueue(), await kit.enqueue()];
      await Promise.all([kit.dequeue('a\u0000'), kit.dequeue('a\u0000')]);
      const usage = [{ key: 'a\u0000\ud800"\\u0000' }];
      const results = await Promise.all([
        kit.queue.mark(
          { jobId: first, executorName: 'a\u0000' },
          'failed',
          'bad \u0000 \ud800 "text"',
          usage,
        ),
        kit.queue.mark({ jobId: second, executorName: 'a\u0000' }, 'complete', '', []),
      ]);
      expect(results).toMatchObject([{ state: 'failed' }, { state: 'completed' }]);
      expect((await kit.row(first)).failureMessage).toBe('bad \ufffd \ufffd "text"');
    });

    it('of an executor that stopped a job for its time are timeouts', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      await kit.queue.mark(
        { jobId: id, executorName: 'a' },
        'errored',
        'job exceeded maximum execution time of 30m0s',
        [],
      );
      expect(await kit.row(id)).toMatchObject({ state: 'failed', failureKind: 'timeout' });
    });
  });

  describe('cancellation', () => {
    it('ends a queued job at once', async () => {
      const id = await kit.enqueue();
      expect(await kit.queue.cancel(id)).toBe('canceled');
      expect(await kit.row(id)).toMatchObject({
        state: 'canceled',
        finishedAt: expect.any(Date),
        cancelRequested: false,
      });
      expect(await kit.queue.cancel(id)).toBe('ended');
      expect(await kit.dequeue('a')).toBeNull();
      expect(await kit.queue.cancel(id + 1)).toBe('unknown');
    });

    it.each([
      ['failed', 'canceled'],
      ['errored', 'canceled'],
      ['complete', 'completed'],
    ] as const)('of a running job is told to its executor; %s then gives %s', async (kind, state) => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      expect(await kit.queue.cancel(id)).toBe('requested');
      expect(await kit.queue.cancel(id)).toBe('requested');
      expect(await kit.heartbeat('a', id)).toEqual({ known: [id], cancel: [id] });
      expect((await kit.row(id)).cancelRequested).toBe(true);
      expect(await kit.queue.mark({ jobId: id, executorName: 'a' }, kind, 'stopped', [])).toEqual({
        state,
        repeated: false,
      });
      expect(await kit.row(id)).toMatchObject({ state, failureKind: null });
    });

    it('ends a job that is lost, released, or whose claim is undone while it is flagged', async () => {
      const [lost, released, unclaimed] = [await kit.enqueue(), await kit.enqueue(), await kit.enqueue()];
      await kit.dequeue('a');
      await kit.dequeue('b');
      const claim = await kit.dequeue('c');
      for (const id of [lost, released, unclaimed]) await kit.queue.cancel(id);
      expect(await kit.queue.release({ jobId: released, executorName: 'b' }, 'infrastructure', '')).toEqual({
        released: true,
      });
      if (claim) await kit.queue.unclaim(claim);
      await kit.pass(26);
      for (const id of [lost, released, unclaimed])
        expect(await kit.row(id)).toMatchObject({ state: 'canceled' });
      expect(await kit.dequeue('a')).toBeNull();
    });

    it('ends a job whose lease ran out, though its executor might have come back', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      await kit.pass(26);
      expect(await kit.queue.cancel(id)).toBe('canceled');
      expect(await kit.heartbeat('a', id)).toEqual({ known: [], cancel: [] });
    });

    it('does not wait for ever for an executor that keeps the job', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      await kit.queue.cancel(id);
      for (let i = 0; i < 16; i++) {
        await kit.pass(20);
        await kit.heartbeat('a', id);
      }
      expect((await kit.row(id)).state).toBe('canceled');
      expect(await kit.heartbeat('a', id)).toEqual({ known: [], cancel: [] });
    });

    it('reaches a held heartbeat', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      const started = performance.now();
      const beat = kit.queue.heartbeat({
        executorName: 'a',
        jobs: [{ id, queue: 'jobs', attempt: 1 }],
        waitSeconds: 10,
        signal: AbortSignal.timeout(30_000),
      });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await kit.queue.cancel(id);
      expect(await beat).toEqual({ known: [id], cancel: [id] });
      expect(performance.now() - started).toBeLessThan(5000);
    });
  });

  describe('time limits', () => {
    it('are enforced by the instance when the executor does not', async () => {
      const id = await kit.enqueue({ timeoutSeconds: 60 });
      await kit.dequeue('a');
      for (let i = 0; i < 4; i++) {
        await kit.pass(20);
        expect(await kit.heartbeat('a', id)).toEqual({ known: [id], cancel: [] });
      }
      await kit.pass(12);
      expect(await kit.heartbeat('a', id)).toEqual({ known: [id], cancel: [id] });
      await kit.queue.mark({ jobId: id, executorName: 'a' }, 'failed', 'canceled', []);
      expect(await kit.row(id)).toMatchObject({ state: 'failed', failureKind: 'timeout' });
    });

    it('end a job that is lost after them', async () => {
      const id = await kit.enqueue({ timeoutSeconds: 1 });
      await kit.dequeue('a');
      await kit.pass(24);
      await kit.heartbeat('a', id);
      await kit.pass(60);
      expect(await kit.row(id)).toMatchObject({
        state: 'failed',
        failureKind: 'timeout',
        failureMessage: 'job exceeded maximum execution time',
      });
    });

    it('do not run while a job waits', async () => {
      const id = await kit.enqueue({ timeoutSeconds: 1 });
      await kit.pass(100);
      expect(await kit.dequeue('a')).toMatchObject({ id });
    });
  });

  describe('giving back', () => {
    it.each(['drain', 'shutdown', 'spot'] as const)(
      'for %s puts a job at the head of its lane without a reset',
      async (reason) => {
        const id = await kit.enqueue({ priority: -5 });
        const job = await kit.dequeue('a');
        await kit.enqueue({ priority: 100 });
        expect(await kit.queue.release({ jobId: id, executorName: 'a', attempt: 1 }, reason, 'bye')).toEqual({
          released: true,
        });
        expect(await kit.queue.release({ jobId: id, executorName: 'a', attempt: 1 }, reason, 'bye')).toEqual({
          released: true,
        });
        expect(await kit.row(id)).toMatchObject({
          state: 'queued',
          executorName: null,
          startedAt: null,
          resets: 0,
        });
        expect(await kit.queue.tokenClaims(job?.token ?? '')).toBeUndefined();
        expect(
          await kit.queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'complete', '', []),
        ).toEqual({ refused: 'unknown' });
        expect(await kit.dequeue('b')).toMatchObject({ id, attempt: 2 });
        expect(await pastAttempts(kit.database, id)).toMatchObject([
          { ended: 'released', message: `${reason}: bye` },
        ]);
      },
    );

    it('for infrastructure counts a reset, and fails the job after three', async () => {
      const id = await kit.enqueue();
      for (let resets = 1; resets <= 4; resets++) {
        await kit.dequeue('a');
        await kit.queue.release({ jobId: id, executorName: 'a' }, 'infrastructure', 'no disk');
        expect((await kit.row(id)).resets).toBe(Math.min(resets, 3));
      }
      expect(await kit.row(id)).toMatchObject({
        state: 'failed',
        failureKind: 'lost',
        failureMessage: 'infrastructure: no disk',
      });
    });

    it('of a job whose lease ran out keeps the lane exact', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      await kit.pass(26);
      expect(await kit.queue.release({ jobId: id, executorName: 'a' }, 'drain', '')).toEqual({
        released: true,
      });
      await kit.checkCounters();
      expect(await kit.dequeue('b')).toMatchObject({ id, attempt: 2 });
    });

    it('by others is refused', async () => {
      const id = await kit.enqueue();
      await kit.dequeue('a');
      expect(await kit.queue.release({ jobId: id, executorName: 'b' }, 'drain', '')).toEqual({
        refused: 'unknown',
      });
      expect(await kit.queue.release({ jobId: id + 1, executorName: 'a' }, 'drain', '')).toEqual({
        refused: 'unknown',
      });
      expect((await kit.row(id)).state).toBe('processing');
    });

    it('of a claim whose reply was not written counts nothing', async () => {
      const id = await kit.enqueue();
      const claim = await kit.dequeue('a', { confirm: true });
      if (claim) await kit.queue.unclaim(claim);
      expect(await kit.row(id)).toMatchObject({ state: 'queued', resets: 0, attempt: 1 });
      const next = await kit.dequeue('b');
      expect(next).toMatchObject({ id, attempt: 2 });
      // Once more for the old claim: nothing happens to the new one.
      if (claim) await kit.queue.unclaim(claim);
      expect(await kit.row(id)).toMatchObject({ state: 'processing', executorName: 'b' });
    });

    it('for a document that cannot be built now delays the job', async () => {
      const id = await kit.enqueue();
      const claim = await kit.dequeue('a');
      if (claim) await kit.queue.documentFailed(claim, 'the code host does not answer', 20);
      expect(await kit.row(id)).toMatchObject({ state: 'queued', availableAt: expect.any(Date) });
      expect(await kit.dequeue('a')).toBeNull();
      expect(await queueCounts(kit.database)).toMatchObject([
        { queue: 'jobs', waiting: 0, delayed: 1, processing: 0 },
      ]);
      await kit.pass(21);
      expect(await kit.dequeue('a')).toMatchObject({ id, attempt: 2 });
      expect(await pastAttempts(kit.database, id)).toMatchObject([
        { ended: 'document', message: 'the code host does not answer' },
      ]);
    });

    it('for a document that can never be built fails the job', async () => {
      const id = await kit.enqueue();
      const claim = await kit.dequeue('a');
      if (claim) await kit.queue.documentFailed(claim, 'the repository was removed');
      expect(await kit.row(id)).toMatchObject({
        state: 'failed',
        failureKind: 'document',
        failureMessage: 'the repository was removed',
      });
    });

    it('of a delayed job does not survive its cancellation', async () => {
      const id = await kit.enqueue();
      const claim = await kit.dequeue('a');
      if (claim) await kit.queue.documentFailed(claim, 'later', 20);
      expect(await kit.queue.cancel(id)).toBe('canceled');
      await kit.pass(30);
      expect(await kit.dequeue('a')).toBeNull();
    });
  });

  describe('retry', () => {
    it('queues an ended job again, with the next attempt, and keeps what was', async () => {
      const id = await kit.enqueue();
      expect(await kit.queue.retry(id)).toBe('not-ended');
      const first = await kit.dequeue('a');
      expect(await kit.queue.retry(id)).toBe('not-ended');
      await kit.queue.cancel(id);
      await kit.queue.mark({ jobId: id, executorName: 'a' }, 'failed', 'canceled', [{ key: 'k' }]);
      expect(await kit.queue.retry(id)).toBe('queued');
      expect(await kit.row(id)).toMatchObject({
        state: 'queued',
        attempt: 1,
        cancelRequested: false,
        failureKind: null,
        failureMessage: null,
        executorName: null,
        finishedAt: null,
        usage: [],
      });
      expect(await kit.queue.tokenClaims(first?.token ?? '')).toBeUndefined();
      expect(await kit.queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'failed', '', [])).toEqual({
        refused: 'unknown',
      });
      expect(await kit.dequeue('b')).toMatchObject({ id, attempt: 2 });
      expect(await pastAttempts(kit.database, id)).toMatchObject([
        { attempt: 1, executor: 'a', ended: 'canceled' },
      ]);
      expect(await kit.queue.retry(id + 1)).toBe('unknown');
    });

    it('of a job that was canceled before anybody had it starts with the first attempt', async () => {
      const id = await kit.enqueue();
      await kit.queue.cancel(id);
      expect(await kit.queue.retry(id)).toBe('queued');
      expect(await kit.dequeue('a')).toMatchObject({ id, attempt: 1 });
    });
  });

  describe('views', () => {
    it('count what is in the queues', async () => {
      await kit.enqueue({ queue: 'batches' });
      await kit.pass(8);
      await kit.enqueue({ queue: 'batches' });
      await kit.enqueue();
      await kit.dequeue('a');
      expect(await queueCounts(kit.database)).toEqual([
        { queue: 'batches', waiting: 2, delayed: 0, processing: 0, oldestWaitingSeconds: 8 },
        { queue: 'jobs', waiting: 0, delayed: 0, processing: 1, oldestWaitingSeconds: null },
      ]);
    });

    it('count the jobs ahead in a lane', async () => {
      const ids = [await kit.enqueue(), await kit.enqueue(), await kit.enqueue({ priority: 5 })];
      await kit.enqueue({ tenant: 2 });
      expect(await Promise.all(ids.map((id) => jobsAhead(kit.database, { id })))).toEqual([1, 2, 0]);
      await kit.dequeue('a');
      await kit.queue.release({ jobId: ids[2] ?? 0, executorName: 'a' }, 'drain', '');
      expect(await Promise.all(ids.map((id) => jobsAhead(kit.database, { id })))).toEqual([1, 2, 0]);
      expect(await jobsAhead(kit.database, { id: 12345 })).toBe(0);
    });
  });
});
