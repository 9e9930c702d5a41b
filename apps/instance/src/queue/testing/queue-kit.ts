import { pino } from 'pino';
import { startTestDatabase, type TestDatabase } from '../../../../../test/kit/database.ts';
import { type Database, loadStatements } from '../../database/index.ts';
import { createQueue, type QueueObserver } from '../create-queue.ts';
import type { ClaimedJob, DequeueRequest, JobRow, NewJob, Queue } from '../queue.ts';
import { sweep, sweepStatements } from '../sweep.ts';
import { findJobRow } from '../views.ts';

/** A queue on a database whose clock stands still until a test moves it. */
export interface QueueKit extends AsyncDisposable {
  test: TestDatabase;
  database: Database;
  queue: Queue;
  /** Seconds go by with an instance running: it sweeps all the while. */
  pass(seconds: number): Promise<void>;
  /** The clock moves and nothing else happens: no instance runs, or somebody sets the clock. */
  jump(seconds: number): Promise<void>;
  sweep(): Promise<void>;
  /** Forgets every job and lane. */
  clear(): Promise<void>;
  enqueue(job?: Partial<NewJob>): Promise<number>;
  /** Not held unless `waitSeconds` says so. */
  dequeue(executorName: string, request?: Partial<DequeueRequest>): Promise<ClaimedJob | null>;
  row(id: number): Promise<JobRow>;
  heartbeat(executorName: string, ...ids: number[]): Promise<{ known: number[]; cancel: number[] }>;
  /** Fails unless lane counters equal the jobs they count. */
  checkCounters(): Promise<void>;
}

export interface QueueKitOptions {
  observer?: QueueObserver;
}

export const forever = new AbortController().signal;
const log = pino({ level: 'silent' });
/** Shorter than the time after which a sweep takes it that no instance ran. */
export const sweepEverySeconds = 5;

export async function startQueueKit({ observer }: QueueKitOptions = {}): Promise<QueueKit> {
  const test = await startTestDatabase();
  const { database } = test;
  await stopClock(database);
  const queue = await createQueue({ database, log, sweeping: false, ...(observer && { observer }) });
  const statements = loadStatements(new URL('..', import.meta.url).href, './sql/', sweepStatements);
  const sweepOnce = async () => {
    if (!(await sweep({ database, statements, log, onEnded: () => undefined }))) {
      throw new Error('Another sweep is under way.');
    }
  };
  const jump = async (seconds: number) => {
    await database.query('update test_clock set time = time + make_interval(secs => $1)', [seconds]);
  };
  await sweepOnce();
  return {
    test,
    database,
    queue,
    jump,
    sweep: sweepOnce,
    async clear() {
      await database.query('delete from jobs');
      await database.query('delete from lanes');
      await database.query('update test_clock set epoch = time');
      // A jump of the clock since the last sweep must not count in the next test.
      await sweepOnce();
    },
    async pass(seconds) {
      for (let left = seconds; left > 0; left -= sweepEverySeconds) {
        await jump(Math.min(left, sweepEverySeconds));
        await sweepOnce();
      }
    },
    enqueue: (job) => enqueue(database, queue, job),
    dequeue: (executorName, request) =>
      queue.dequeue({
        executorName,
        queues: ['jobs'],
        limits: true,
        confirm: false,
        waitSeconds: 0,
        signal: forever,
        ...request,
      }),
    async row(id) {
      const row = await findJobRow(database, id);
      if (!row) throw new Error(`There is no job ${id}.`);
      return row;
    },
    heartbeat: (executorName, ...ids) =>
      queue.heartbeat({ executorName, jobs: ids.map((id) => ({ id })), waitSeconds: 0, signal: forever }),
    checkCounters: () => checkCounters(database),
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]();
      await test[Symbol.asyncDispose]();
    },
  };
}

export function enqueue(database: Database, queue: Queue, job: Partial<NewJob> = {}): Promise<number> {
  return database.transaction((transaction) =>
    queue.enqueue(transaction, {
      queue: 'jobs',
      tenant: 1,
      producer: 'jobs',
      priority: 0,
      needsLimits: false,
      timeoutSeconds: 3600,
      repositoryName: null,
      ...job,
    }),
  );
}

async function stopClock(database: Database): Promise<void> {
  await database.query(`
    create table test_clock as select now() as time, now() as epoch;
    create or replace function kiln_now() returns timestamptz language sql stable parallel safe
      as 'select time from test_clock'`);
}

async function checkCounters(database: Database): Promise<void> {
  const wrong = await database.query(`
    select lane.*, counted.* from lanes lane full join (
      select queue, tenant, count(*) as jobs, count(*) filter (where not needs_limits) as plain
      from jobs where in_lane group by queue, tenant
    ) counted using (queue, tenant)
    where coalesce(lane.waiting, 0) <> coalesce(counted.jobs, 0)
      or coalesce(lane.waiting_plain, 0) <> coalesce(counted.plain, 0)`);
  if (wrong.length > 0) throw new Error(`Lanes count wrongly: ${JSON.stringify(wrong)}`);
}
