import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { NewJob, NewRecord } from './queue.ts';
import { type QueueKit, startQueueKit } from './testing/queue-kit.ts';
import { aheadOfNewJob, jobsAhead } from './views.ts';

const plainJob: NewJob = {
  queue: 'jobs',
  tenant: 1,
  producer: 'jobs',
  priority: 0,
  needsLimits: false,
  timeoutSeconds: 3600,
  repositoryName: null,
};

describe('jobs with a record', () => {
  let kit: QueueKit;
  beforeAll(async () => {
    kit = await startQueueKit();
    await kit.database.query('create table notes (job_id bigint references jobs (id), note text unique)');
  });
  afterAll(() => kit[Symbol.asyncDispose]());
  beforeEach(async () => {
    await kit.database.query('delete from notes');
    await kit.clear();
  });
  afterEach(() => kit.checkCounters());

  const noted = (note: string): NewRecord => ({
    insert: {
      name: 'note',
      text: `insert into notes select call.id, call.record ->> 'note' from call`,
    },
    json: JSON.stringify({ note }),
  });
  const enqueue = (note: string, job: Partial<NewJob> = {}) =>
    kit.queue.enqueueWithRecord({ ...plainJob, ...job }, noted(note));

  it('appear together, many at once, in the order in which they came', async () => {
    const jobs = await Promise.all(
      Array.from({ length: 300 }, (_, i) => enqueue(`note ${i}`, { needsLimits: i % 3 === 0 })),
    );
    const ids = jobs.map(({ id }) => id);
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
    expect(jobs.map(({ waitingBefore }) => waitingBefore)).toEqual(jobs.map((_, i) => i));
    const notes = await kit.database.query<{ note: string }>('select note from notes order by job_id');
    expect(notes.map(({ note }) => note)).toEqual(jobs.map((_, i) => `note ${i}`));
    expect(await kit.dequeue('a')).toMatchObject({ id: ids[0], timeoutSeconds: 3600 });
    expect(await kit.dequeue('b', { limits: false })).toMatchObject({ id: ids[1] });
  });

  it('fail alone when their record cannot be inserted, and leave nothing behind', async () => {
    await enqueue('taken');
    const results = await Promise.allSettled([enqueue('one'), enqueue('taken'), enqueue('two')]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    const [row] = await kit.database.query<{ jobs: number }>('select count(*)::int as jobs from jobs');
    expect(row?.jobs).toBe(3);
  });

  it('wake a dequeue that waits', async () => {
    const waiting = kit.dequeue('a', { waitSeconds: 20 });
    const { id } = await enqueue('a note');
    expect(await waiting).toMatchObject({ id });
  });

  it('know how many are claimed before them, whatever waits after them', async () => {
    for (const [i, priority] of [0, 5, -5, 0, -1, 100].entries()) await enqueue(`note ${i}`, { priority });
    for (const priority of [-6, -5, 0, 3, 100]) {
      const enqueued = await enqueue(`of priority ${priority}`, { priority });
      const ahead = await jobsAhead(kit.database, enqueued);
      expect(await aheadOfNewJob(kit.database, { ...plainJob, priority }, enqueued)).toBe(ahead);
    }
  });
});
