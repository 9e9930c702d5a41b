import type { QueueName } from '@kiln/protocol';
import type { Logger } from 'pino';
import { createTurns, type Database, isPassingFailure, type Statement } from '../database/index.ts';
import { createGroup, type Group } from './grouping.ts';
import type { Enqueued, NewJob, NewRecord } from './queue.ts';

interface Call {
  number: number;
  job: NewJob;
  record: NewRecord;
}

interface EnqueuedRow {
  place: number;
  id: number;
  queuedAt: Date;
  waitingBefore: number;
}

export interface EnqueuingOptions {
  database: Database;
  /** enqueue_many.sql */
  statement: Statement;
  log: Logger;
  onQueued: (queue: QueueName) => void;
}

/**
 * Connections that may enqueue at once, half of the pool: somebody who holds lanes keeps these waiting, not those that
 * claim and mark.
 */
const maxLanesAtOnce = 10;

/**
 * Jobs of one lane are enqueued by one statement at a time, with all that came meanwhile. They would wait for each
 * other in any case: a job's lane is locked until its commit. So whoever holds a lane stops one connection, however
 * many jobs are submitted to it.
 */
export function createEnqueuing({
  database,
  statement,
  log,
  onQueued,
}: EnqueuingOptions): (job: NewJob, record: NewRecord) => Promise<Enqueued> {
  const lanes = new Map<string, { group: Group<Call, Enqueued>; calls: number }>();
  const turns = createTurns(maxLanesAtOnce);
  let calls = 0;

  return async (job, record) => {
    const key = JSON.stringify([job.queue, job.tenant, job.producer, record.insert.name]);
    let lane = lanes.get(key);
    if (!lane) {
      lane = { group: createLaneGroup(), calls: 0 };
      lanes.set(key, lane);
    }
    lane.calls++;
    try {
      return await lane.group.add({ number: ++calls, job, record });
    } finally {
      if (--lane.calls === 0) lanes.delete(key);
    }
  };

  function createLaneGroup(): Group<Call, Enqueued> {
    return createGroup<Call, Enqueued>({
      run: (group) => turns.take(() => run(group)),
      targetOf: ({ number }) => number,
      identityOf: ({ number }) => String(number),
      maxStatements: 1,
      // One by one they would all wait for the same lane.
      failsTogether: isPassingFailure,
      log,
    });
  }

  async function run(group: Call[]): Promise<Enqueued[]> {
    const [first] = group;
    if (!first) return [];
    const { queue, tenant, producer } = first.job;
    const { insert } = first.record;
    const rows = await database.query<EnqueuedRow>(
      {
        name: `${statement.name}_${insert.name}`,
        text: statement.text.replace('-- record\n', () => `), record as (\n${insert.text}\n`),
      },
      [
        queue,
        tenant,
        producer,
        group.map(({ job }) => job.priority),
        group.map(({ job }) => job.needsLimits),
        group.map(({ job }) => job.timeoutSeconds),
        group.map(({ job }) => job.repositoryName),
        group.map(({ record }) => record.json),
      ],
    );
    onQueued(queue);
    return rows.map(({ place, id, queuedAt, waitingBefore }) => ({
      id,
      queuedAt,
      waitingBefore: waitingBefore + place - 1,
    }));
  }
}
