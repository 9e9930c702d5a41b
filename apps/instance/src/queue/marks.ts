import { type FailureKind, type JobState, messages, type QueueName, type Usage } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database, Statement } from '../database/index.ts';
import { cleanJSON, cleanText } from './clean-text.ts';
import { createGroup, type Group, rowHeld, waiting } from './grouping.ts';
import type { JobCaller, MarkKind, MarkResult, Refusal } from './queue.ts';
import { repeatHours } from './settings.ts';

export interface Mark {
  caller: JobCaller;
  kind: MarkKind;
  message: string;
  usage: Usage[];
}

export interface MarkOptions {
  database: Database;
  statement: Statement;
  log: Logger;
  onEnded: (ended: readonly EndedJob[]) => void;
}

export interface EndedJob {
  id: number;
  queue: QueueName;
  state: JobState;
  failureKind: FailureKind | null;
}

interface MarkRow {
  place: number;
  queue: QueueName | null;
  verdict: Refusal | 'accepted' | 'repeated' | 'different' | 'held';
  state: JobState;
  failureKind: FailureKind | null;
}

const maxMessageLength = 64 * 1024;

/** Ends attempts, many per statement and commit; see mark.sql for the rules. */
export function createMarks({ database, statement, log, onEnded }: MarkOptions): Group<Mark, MarkResult> {
  const waitingStatement = waiting(statement);
  return createGroup<Mark, MarkResult>({
    run,
    targetOf: ({ caller }) => caller.jobId,
    identityOf: ({ caller, kind, message, usage }) =>
      JSON.stringify([caller.jobId, caller.attempt, caller.executorName, kind, message, usage]),
    log,
  });

  async function run(calls: Mark[], waits: boolean): Promise<(MarkResult | typeof rowHeld)[]> {
    const rows = await database.query<MarkRow>(waits ? waitingStatement : statement, [
      calls.map(({ caller }) => caller.jobId),
      calls.map(({ caller }) => cleanText(caller.executorName)),
      calls.map(({ caller }) => caller.attempt ?? null),
      calls.map(({ kind }) => kind),
      calls.map(({ kind, message }) =>
        kind === 'complete' ? '' : cleanText(message.slice(0, maxMessageLength)),
      ),
      calls.map(({ usage }) => cleanJSON(usage)),
      repeatHours,
      messages.overTimePrefix,
    ]);
    const results: (MarkResult | typeof rowHeld)[] = [];
    const ended: EndedJob[] = [];
    for (const { place, queue, verdict, state, failureKind } of rows) {
      const id = calls[place - 1]?.caller.jobId;
      if (verdict === 'accepted' && queue && id !== undefined) ended.push({ id, queue, state, failureKind });
      if (verdict === 'held') results[place - 1] = rowHeld;
      else if (verdict === 'accepted' || verdict === 'repeated') {
        results[place - 1] = { state, repeated: verdict === 'repeated' };
      } else results[place - 1] = { refused: verdict };
    }
    onEnded(ended);
    return results;
  }
}
