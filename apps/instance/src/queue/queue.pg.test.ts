import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';
import { createQueue, findJobRow, type Queue } from './index.ts';

describe('queue', () => {
  let test: TestDatabase;
  let queue: Queue;
  beforeAll(async () => {
    test = await startTestDatabase();
    queue = await createQueue({ database: test.database, log: pino({ level: 'warn' }) });
  });
  afterAll(async () => {
    await queue[Symbol.asyncDispose]();
    await test[Symbol.asyncDispose]();
  });

  it('hands a job to an executor and takes its result', async () => {
    const id = await test.database.transaction((transaction) =>
      queue.enqueue(transaction, {
        queue: 'jobs',
        tenant: 1,
        producer: 'jobs',
        priority: 0,
        needsLimits: false,
        timeoutSeconds: 60,
        repositoryName: null,
      }),
    );
    const job = await queue.dequeue({
      executorName: 'a',
      queues: ['batches', 'jobs'],
      limits: false,
      confirm: true,
      waitSeconds: 5,
      signal: new AbortController().signal,
    });
    expect(job).toMatchObject({ id, attempt: 1, queue: 'jobs', producer: 'jobs', timeoutSeconds: 60 });
    if (!job) return;
    expect(await queue.tokenClaims(job.token)).toMatchObject({ jobId: id, ended: false });
    expect(await queue.touch({ jobId: id, executorName: 'a' })).toEqual({ attempt: 1 });
    expect(
      await queue.heartbeat({
        executorName: 'a',
        jobs: [{ id }],
        waitSeconds: 0,
        signal: new AbortController().signal,
      }),
    ).toEqual({ known: [id], cancel: [] });
    expect(await queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'complete', '', [])).toEqual({
      state: 'completed',
      repeated: false,
    });
    expect(await queue.mark({ jobId: id, executorName: 'a', attempt: 1 }, 'complete', '', [])).toEqual({
      state: 'completed',
      repeated: true,
    });
    expect(await findJobRow(test.database, id)).toMatchObject({ state: 'completed', executorName: 'a' });
    expect(await queue.retry(id)).toBe('queued');
    expect(await queue.cancel(id)).toBe('canceled');
  });
});
