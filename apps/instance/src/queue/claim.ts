import type { QueueName } from '@kiln/protocol';
import type { Database, Statement } from '../database/index.ts';
import type { ClaimStatements } from './claim-statements.ts';
import { cleanJSON, cleanText } from './clean-text.ts';
import type { ClaimBatch, ClaimOutcome } from './pump.ts';
import { confirmSeconds, deadlineGraceSeconds, leaseSeconds, unconfirmedPerReset } from './settings.ts';
import { encodeToken, mintSecret } from './tokens.ts';

interface ClaimRow {
  id: number;
  attempt: number;
  producer: string;
  timeoutSeconds: number;
  /** Which of the requests it is for, from 1. */
  turn: number;
  queuedSeconds: number;
}

export interface ClaimOptions {
  database: Database;
  statements: ClaimStatements;
  onClaimed: (queue: QueueName, jobs: readonly { id: number; queuedSeconds: number }[]) => void;
}

/** Claims for a batch of requests in one statement; see claim_many.sql. */
export async function claim(
  { database, statements, onClaimed }: ClaimOptions,
  { queue, limits, requests }: ClaimBatch,
): Promise<ClaimOutcome> {
  const secrets = requests.map(() => mintSecret());
  const [one, many] = limits
    ? [statements.one, statements.many]
    : [statements.onePlain, statements.manyPlain];
  const rows = await database.query<ClaimRow>(requests.length === 1 ? one : many, [
    queue,
    requests.length,
    requests.map(({ executorName }) => cleanText(executorName)),
    secrets.map(({ hash }) => hash),
    requests.map(({ confirm }) => confirm),
    requests.map(({ isolation }) => (isolation ? cleanJSON(isolation) : null)),
    leaseSeconds,
    confirmSeconds,
    deadlineGraceSeconds,
    unconfirmedPerReset,
  ]);
  const assigned: ClaimOutcome['assigned'] = [];
  for (const { id, attempt, producer, timeoutSeconds, turn } of rows) {
    const request = requests[turn - 1];
    const secret = secrets[turn - 1]?.secret;
    if (!request || !secret)
      throw new RangeError(`A claim was made for request ${turn} of ${requests.length}.`);
    const token = encodeToken(id, secret);
    const { executorName } = request;
    assigned.push({ request, job: { id, attempt, queue, producer, executorName, token, timeoutSeconds } });
  }
  onClaimed(queue, rows);
  const contended = assigned.length === 0 && (await jobsWait(database, queue, limits));
  return { assigned, contended };
}

const waitingStatement: Statement = {
  name: 'lanes_wait',
  text: 'select exists (select from lanes where queue = $1 and waiting > 0) as any_job, exists (select from lanes where queue = $1 and waiting_plain > 0) as plain_job',
};

async function jobsWait(database: Database, queue: QueueName, limits: boolean): Promise<boolean> {
  const [row] = await database.query<{ any_job: boolean; plain_job: boolean }>(waitingStatement, [queue]);
  return (limits ? row?.any_job : row?.plain_job) ?? false;
}
