import { isQueueName, type QueueName } from '@kiln/protocol';
import type { Database } from '../../database/index.ts';
import { activeSeconds } from './view.ts';

/** Executors that can take jobs of a queue now: active and not draining. */
export interface QueueCapacity {
  executors: number;
  /** Those that know the extension `limits`. */
  withLimits: number;
}

export type Capacity = Record<QueueName, QueueCapacity>;

export interface Capacities {
  now(): Promise<Capacity>;
  /** The same, up to a second old unless this process knows of a change: for each submission. */
  recent(): Promise<Capacity>;
  /** Executors came, went or were told to drain: what was read before is out of date. */
  changed(): void;
}

const recentMs = 1000;

export function createCapacities(database: Database): Capacities {
  let read: { capacity: Promise<Capacity>; until: number } | undefined;

  async function now(): Promise<Capacity> {
    const rows = await database.query<{ queue: string; executors: number; withLimits: number }>({
      name: 'executor_capacity',
      text: `select queue, count(*) as executors, count(*) filter (where 'limits' = any(extensions)) as "withLimits"
        from executors, unnest(queues) as queue
        where last_seen_at >= now() - make_interval(secs => ${activeSeconds}) and ended_because is null and not draining
        group by queue`,
    });
    const none = { executors: 0, withLimits: 0 };
    const capacity: Capacity = { batches: none, codeintel: none, jobs: none };
    for (const { queue, ...count } of rows) if (isQueueName(queue)) capacity[queue] = count;
    return capacity;
  }

  return {
    now,
    recent() {
      if (read && read.until > performance.now()) return read.capacity;
      const begun = { capacity: now(), until: performance.now() + recentMs };
      read = begun;
      // A failure is not remembered; whoever asked is told.
      begun.capacity.catch(() => {
        if (read === begun) read = undefined;
      });
      return begun.capacity;
    },
    changed() {
      read = undefined;
    },
  };
}
