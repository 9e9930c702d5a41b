import type { Logger } from 'pino';
import type { Database, Statement } from '../database/index.ts';
import { cleanText } from './clean-text.ts';
import { createGroup, type Group, rowHeld, waiting } from './grouping.ts';
import type { Refusal } from './queue.ts';
import { leaseSeconds, renewBelowSeconds } from './settings.ts';

export interface LifeSign {
  jobId: number;
  executorName: string;
  queue?: string | undefined;
  attempt?: number | undefined;
}

export type LifeSignResult = { attempt: number; cancelRequested: boolean } | { refused: Refusal };

export interface LifeSignOptions {
  database: Database;
  touch: Statement;
  takeBack: Statement;
  log: Logger;
}

interface TouchRow {
  place: number;
  attempt: number;
  cancelRequested: boolean;
}

type TakeBackRow = { place: number } & (
  | { refused: null; attempt: number; cancelRequested: boolean }
  | { refused: Refusal | 'held' }
);

/** Extends leases for heartbeats and log writes, many per statement; takes expired jobs back. */
export function createLifeSigns({
  database,
  touch,
  takeBack,
  log,
}: LifeSignOptions): Group<LifeSign, LifeSignResult> {
  const waitingTakeBack = waiting(takeBack);
  return createGroup<LifeSign, LifeSignResult>({
    run,
    targetOf: ({ jobId }) => jobId,
    identityOf: ({ jobId, executorName, queue, attempt }) =>
      JSON.stringify([jobId, attempt, queue, executorName]),
    log,
  });

  async function run(calls: LifeSign[], waits: boolean): Promise<(LifeSignResult | typeof rowHeld)[]> {
    const results: (LifeSignResult | typeof rowHeld)[] = [];
    for (const row of await database.query<TouchRow>(touch, [
      ...columns(calls),
      leaseSeconds,
      renewBelowSeconds,
    ])) {
      results[row.place - 1] = { attempt: row.attempt, cancelRequested: row.cancelRequested };
    }
    const missing = [...calls.keys()].filter((index) => !(index in results));
    if (missing.length === 0) return results;
    const rest = missing.map((index) => calls[index]).filter((call) => call !== undefined);
    const statement = waits ? waitingTakeBack : takeBack;
    for (const row of await database.query<TakeBackRow>(statement, [...columns(rest), leaseSeconds])) {
      const index = missing[row.place - 1];
      if (index === undefined) continue;
      if (row.refused === null) {
        results[index] = { attempt: row.attempt, cancelRequested: row.cancelRequested };
      } else results[index] = row.refused === 'held' ? rowHeld : { refused: row.refused };
    }
    return results;
  }
}

function columns(calls: LifeSign[]): unknown[] {
  return [
    calls.map(({ jobId }) => jobId),
    calls.map(({ queue }) => queue ?? null),
    calls.map(({ executorName }) => cleanText(executorName)),
    calls.map(({ attempt }) => attempt ?? null),
  ];
}
