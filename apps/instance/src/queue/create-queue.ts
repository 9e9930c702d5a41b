import { randomUUID } from 'node:crypto';
import type { FailureKind, JobState, QueueName } from '@kiln/protocol';
import type { Logger } from 'pino';
import { createTurns, type Database, loadStatements } from '../database/index.ts';
import { createBroadcast } from './broadcast.ts';
import { claim } from './claim.ts';
import { loadClaimStatements } from './claim-statements.ts';
import { cleanText } from './clean-text.ts';
import { createEnqueuing } from './enqueuing.ts';
import { createHeartbeat } from './heartbeat.ts';
import { isJobId } from './job-ids.ts';
import { createMarks } from './marks.ts';
import { createPump } from './pump.ts';
import type { ClaimedJob, Queue, Refusal } from './queue.ts';
import { maxResets, safetyRefreshMilliseconds } from './settings.ts';
import { createLifeSigns } from './signs-of-life.ts';
import { startSweeping, sweepStatements } from './sweep.ts';
import { createTokenLookup } from './token-lookup.ts';
import { createWakeUpCalls } from './wake-up-calls.ts';
import { createWatchers } from './watchers.ts';

/** Told of what this process did, for metrics. */
export interface QueueObserver {
  claimed(queue: QueueName, queuedSeconds: number): void;
  ended(queue: QueueName, state: JobState, failureKind: FailureKind | null): void;
}

export interface QueueOptions {
  database: Database;
  log: Logger;
  observer?: QueueObserver;
  /** False only for tests that move time themselves and call `sweep`. */
  sweeping?: boolean;
}

const statementNames = [
  'enqueue',
  'enqueue_many',
  'touch',
  'take_back',
  'mark',
  'give_back',
  'cancel',
  'retry',
] as const;
const maxMessageLength = 64 * 1024;
/** Connections that may wait for lanes or jobs that somebody holds, for calls that come one by one. */
const maxSingleCalls = 6;

/** The queue on a migrated database. Several of them, in several processes, may share one. */
export async function createQueue({
  database,
  log,
  observer,
  sweeping = true,
}: QueueOptions): Promise<Queue> {
  const sql = loadStatements(import.meta.url, './sql/', [...statementNames, ...sweepStatements]);
  const claimStatements = loadClaimStatements();
  const singleCalls = createTurns(maxSingleCalls);
  const closing = new AbortController();
  const watchers = createWatchers();
  const origin = randomUUID();
  const broadcast = createBroadcast(database, watchers, origin, log);
  const onEnded = (queue: QueueName, state: JobState, failureKind: FailureKind | null) =>
    observer?.ended(queue, state, failureKind);
  const lifeSigns = createLifeSigns({ database, touch: sql.touch, takeBack: sql.take_back, log });
  const marks = createMarks({
    database,
    statement: sql.mark,
    log,
    onEnded(ended) {
      broadcast.changed(ended.map(({ id }) => id));
      for (const { queue, state, failureKind } of ended) onEnded(queue, state, failureKind);
    },
  });
  const tokenClaims = createTokenLookup(database, log);
  const onClaimed = (queue: QueueName, jobs: readonly { id: number; queuedSeconds: number }[]) => {
    broadcast.changed(jobs.map(({ id }) => id));
    for (const { queuedSeconds } of jobs) observer?.claimed(queue, queuedSeconds);
  };
  const pump = createPump({
    claim: (batch) => claim({ database, statements: claimStatements, onClaimed }, batch),
    unclaim,
    log,
  });
  const wakeUpCalls = createWakeUpCalls(database, pump.wake, origin, log);
  const enqueueWithRecord = createEnqueuing({
    database,
    statement: sql.enqueue_many,
    log,
    onQueued: wakeUpCalls.call,
  });
  await using opened = new AsyncDisposableStack();
  opened.use(broadcast);
  opened.use(wakeUpCalls);
  opened.use(pump);
  opened.use(await database.listen('kiln_queue', wakeUpCalls.receive, pump.wake));
  opened.use(await database.listen('kiln_job', broadcast.receive, watchers.notifyAll));
  if (sweeping) opened.use(startSweeping({ database, statements: sql, log, onEnded }));
  const refresh = setInterval(watchers.notifyAll, safetyRefreshMilliseconds);
  refresh.unref();
  opened.defer(() => clearInterval(refresh));
  opened.defer(() => closing.abort());
  const resources = opened.move();

  return {
    async enqueue(transaction, job) {
      const [row] = await transaction.query<{ id: number }>(sql.enqueue, [
        job.queue,
        job.tenant,
        job.producer,
        job.priority,
        job.needsLimits,
        job.timeoutSeconds,
        job.repositoryName,
      ]);
      if (!row) throw new Error('Enqueueing a job returned no id.');
      return row.id;
    },
    enqueueWithRecord,
    dequeue: (request) => pump.dequeue(request),
    unclaim,
    async documentFailed({ id, attempt }, message, retryAfterSeconds) {
      await giveBack({
        jobId: id,
        attempt,
        ended: 'document',
        message,
        delaySeconds: retryAfterSeconds ?? 0,
        ...(retryAfterSeconds === undefined && { failureKind: 'document' }),
      });
    },
    heartbeat: createHeartbeat({ lifeSigns, watchers, closing: closing.signal }),
    async touch(caller) {
      if (!isJobId(caller.jobId)) return { refused: 'unknown' };
      const result = await lifeSigns.add(caller);
      return 'refused' in result ? result : { attempt: result.attempt };
    },
    async mark(caller, kind, message, usage) {
      if (!isJobId(caller.jobId)) return { refused: 'unknown' };
      return marks.add({ caller, kind, message, usage });
    },
    async release({ jobId, executorName, attempt }, reason, message) {
      const refused = await giveBack({
        jobId,
        executorName,
        attempt,
        ended: 'released',
        message: message === '' ? reason : `${reason}: ${message}`,
        countsReset: reason === 'infrastructure',
      });
      return refused ? { refused } : { released: true };
    },
    tokenClaims,
    async cancel(jobId) {
      if (!isJobId(jobId)) return 'unknown';
      interface CancelRow {
        outcome: 'canceled' | 'requested' | 'ended';
        queue: QueueName | null;
      }
      const [row] = await singleCalls.take(() => database.query<CancelRow>(sql.cancel, [jobId]));
      if (row?.outcome === 'canceled' && row.queue) onEnded(row.queue, 'canceled', null);
      return row?.outcome ?? 'unknown';
    },
    async retry(jobId) {
      if (!isJobId(jobId)) return 'unknown';
      const [row] = await singleCalls.take(() => database.query<{ queued: boolean }>(sql.retry, [jobId]));
      if (!row) return 'unknown';
      return row.queued ? 'queued' : 'not-ended';
    },
    watch: watchers.watch,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };

  async function unclaim({ id, attempt }: ClaimedJob): Promise<void> {
    await giveBack({ jobId: id, attempt, ended: 'unclaimed', message: '' });
  }

  async function giveBack(how: {
    jobId: number;
    executorName?: string;
    attempt: number | undefined;
    ended: 'released' | 'unclaimed' | 'document';
    message: string;
    countsReset?: boolean;
    delaySeconds?: number;
    failureKind?: FailureKind;
  }): Promise<Refusal | undefined> {
    if (!isJobId(how.jobId)) return 'unknown';
    interface GiveBackRow {
      queue: QueueName;
      refused: Refusal | null;
      state: JobState;
      failureKind: FailureKind | null;
      repeated: boolean;
    }
    const values = [
      how.jobId,
      how.executorName === undefined ? null : cleanText(how.executorName),
      how.attempt ?? null,
      how.ended,
      cleanText(how.message.slice(0, maxMessageLength)),
      how.countsReset ?? false,
      maxResets,
      how.delaySeconds ?? 0,
      how.failureKind ?? null,
    ];
    const [row] = await singleCalls.take(() => database.query<GiveBackRow>(sql.give_back, values));
    if (!row) return 'unknown';
    if (row.refused && !row.repeated) return row.refused;
    if (!row.refused && row.state !== 'queued') onEnded(row.queue, row.state, row.failureKind);
    return undefined;
  }
}
