import { setTimeout as sleep } from 'node:timers/promises';
import { type FailureKind, type JobState, messages, type QueueName } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database, Statement, Transaction } from '../database/index.ts';
import {
  cancelPatienceSeconds,
  confirmSeconds,
  gapGraceSeconds,
  leaseSeconds,
  maxBeatGapSeconds,
  maxLeaseSeconds,
  maxResets,
  sweepIntervalMilliseconds,
  sweepShareSeconds,
  unconfirmedPerReset,
} from './settings.ts';

export const sweepStatements = [
  'beat',
  'extend',
  'step_back',
  'clamp',
  'expire',
  'come_due',
  'time_out',
] as const;

export interface SweepOptions {
  database: Database;
  statements: Record<(typeof sweepStatements)[number], Statement>;
  log: Logger;
  onEnded: (queue: QueueName, state: JobState, failureKind: FailureKind | null) => void;
  /** Does nothing when another instance swept within this time. */
  minGapSeconds?: number;
}

interface ExpiredRow {
  id: number;
  queue: QueueName;
  state: JobState;
  failureKind: FailureKind | null;
  attempt: number;
  executorName: string | null;
}

/** Keys of the lock that lets one instance sweep at a time. */
const sweepLock = 5_746_352;
/** Small enough for the ids to fit in one notification (8000 bytes), and for short locks. */
const maxRowsPerStep = 300;

/**
 * What time does to jobs, once: see the statements. Returns false when another instance is at it or was just now.
 * Everything is in one transaction, so a beat is never written without what follows from it.
 */
export async function sweep(options: SweepOptions): Promise<boolean> {
  const { database, statements, log, onEnded, minGapSeconds = 0 } = options;
  const expired = await database.transaction(async (transaction) => {
    const [lock] = await transaction.query<{ held: boolean; gapSeconds: number | null }>(
      `select pg_try_advisory_xact_lock(${sweepLock}) as held,
        (select extract(epoch from kiln_now() - at)::float8 from beat) as "gapSeconds"`,
    );
    if (!lock?.held) return undefined;
    const { gapSeconds } = lock;
    if (gapSeconds !== null && gapSeconds >= 0 && gapSeconds < minGapSeconds) return undefined;
    await followClock(transaction, statements, log);
    await transaction.query(statements.time_out, [maxRowsPerStep]);
    await transaction.query(statements.come_due, [maxRowsPerStep]);
    return transaction.query<ExpiredRow>(statements.expire, [
      unconfirmedPerReset,
      maxResets,
      cancelPatienceSeconds,
      messages.lostTooOften,
      messages.overTimePrefix,
      maxRowsPerStep,
    ]);
  });
  if (!expired) return false;
  for (const { id, queue, state, failureKind, attempt, executorName } of expired) {
    log.info({ jobId: id, attempt, executorName, state }, 'an executor lost a job');
    if (state !== 'processing') onEnded(queue, state, failureKind);
  }
  return true;
}

async function followClock(
  transaction: Transaction,
  statements: SweepOptions['statements'],
  log: Logger,
): Promise<void> {
  const [beat] = await transaction.query<{ gapSeconds: number }>(statements.beat);
  const gapSeconds = beat?.gapSeconds ?? 0;
  if (gapSeconds > maxBeatGapSeconds) {
    const extended = await transaction.query(statements.extend, [
      gapSeconds,
      gapGraceSeconds,
      leaseSeconds,
      confirmSeconds,
    ]);
    log.warn({ gapSeconds, jobs: extended.length }, 'no instance ran for a while; leases are extended');
  } else if (gapSeconds < -1) {
    const moved = await transaction.query(statements.step_back, [-gapSeconds]);
    log.warn(
      { gapSeconds, jobs: moved.length },
      'the clock of the database was set back; leases are moved with it',
    );
  }
  await transaction.query(statements.clamp, [maxLeaseSeconds, leaseSeconds, confirmSeconds]);
}

/** Sweeps each second, together with the other instances, until disposed. A sweep that fails is logged, and the next one does its work. */
export function startSweeping(options: SweepOptions): AsyncDisposable {
  const stopping = new AbortController();
  const { signal } = stopping;
  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await running;
    },
  };

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await sweep({ ...options, minGapSeconds: sweepShareSeconds });
      } catch (error) {
        options.log.warn({ err: error }, 'looking after leases failed; trying again');
      }
      await sleep(sweepIntervalMilliseconds, undefined, { signal }).catch(() => undefined);
    }
  }
}
