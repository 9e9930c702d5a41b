import type { ExecutorView, ExtensionName, Isolation, QueueName } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import { type Capacities, createCapacities } from './capacity.ts';
import { openDraining } from './draining.ts';
import { createExecutorMetrics, type ExecutorMetrics } from './executor-metrics.ts';
import { createIsolations } from './isolations.ts';
import { startStaleRowCleanup } from './stale-rows.ts';
import { type ExecutorRow, executorColumns, executorView } from './view.ts';

/** What a heartbeat says of the executor itself. Texts may be empty; they are cut where they are longer than any real one. */
export interface ExecutorBeat {
  name: string;
  queues: readonly QueueName[];
  os: string;
  architecture: string;
  dockerVersion: string;
  executorVersion: string;
  gitVersion: string;
  igniteVersion: string;
  srcCliVersion: string;
  kilnVersion: string;
  extensions: readonly ExtensionName[];
  slots?: number | undefined;
  running?: number | undefined;
  isolation?: Isolation | undefined;
  /** Set in the last heartbeat of an executor that says goodbye. */
  endedBecause?: string | undefined;
}

/** The fleet: executors register themselves by heartbeats, and are known until a week after the last one. */
export interface Executors extends AsyncDisposable {
  /** Registers or updates the executor. After it `isDraining` is right for the executor, even if a change was missed. */
  beat(beat: ExecutorBeat): Promise<void>;
  /** As known in this process; changes of other instances arrive within milliseconds. */
  isDraining(name: string): boolean;
  /** Calls back when draining is ordered or taken back, until disposed. */
  watchDraining(name: string, onChange: () => void): Disposable;
  /** Orders or ends draining; undefined when there is no such executor. */
  setDraining(name: string, draining: boolean): Promise<ExecutorView | undefined>;
  /** How an executor isolates its jobs, as its last heartbeat said; null: unknown. For each dequeue, so mostly from memory. */
  isolationOf(name: string): Promise<Isolation | null>;
  /** Newest first. */
  list(): Promise<ExecutorView[]>;
  /** What could take jobs of each queue. */
  capacity: Pick<Capacities, 'now' | 'recent'>;
  /** The metrics that executors send with their heartbeats. */
  metrics: ExecutorMetrics;
}

const maxTextCharacters = 255;

export async function openExecutors(database: Database, log: Logger): Promise<Executors> {
  const draining = await openDraining(database, log);
  const metrics = createExecutorMetrics();
  const isolations = createIsolations(database);
  const capacity = createCapacities(database);
  const cleanup = startStaleRowCleanup(database, log);

  return {
    async beat(beat) {
      const [row] = await database.query<{ draining: boolean; isNew: boolean }>(
        { name: 'executor_beat', text: beatStatement },
        beatValues(beat),
      );
      isolations.set(beat.name, beat.isolation ?? null);
      if (row?.isNew || beat.endedBecause !== undefined) capacity.changed();
      if (row && row.draining !== draining.has(beat.name)) await draining.refresh();
    },
    isDraining: draining.has,
    isolationOf: isolations.get,
    watchDraining: draining.watch,
    async setDraining(name, drain) {
      const [row] = await database.query<ExecutorRow>(
        `update executors set draining = $2 where name = $1 returning ${executorColumns}`,
        [name, drain],
      );
      if (!row) return undefined;
      capacity.changed();
      await draining.changed(name, drain);
      return executorView(row);
    },
    async list() {
      const rows = await database.query<ExecutorRow>(
        `select ${executorColumns} from executors order by first_seen_at desc, name`,
      );
      return rows.map(executorView);
    },
    capacity,
    metrics,
    async [Symbol.asyncDispose]() {
      await cleanup[Symbol.asyncDispose]();
      await draining[Symbol.asyncDispose]();
    },
  };
}

/** Every column but first_seen_at is overwritten, and draining, which is not the executor's to say. */
const beatStatement = `
  insert into executors (name, queues, os, architecture, docker_version, executor_version, git_version, ignite_version,
    src_cli_version, kiln_version, extensions, slots, running, isolation, ended_because)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
  on conflict (name) do update set
    queues = excluded.queues, os = excluded.os, architecture = excluded.architecture,
    docker_version = excluded.docker_version, executor_version = excluded.executor_version,
    git_version = excluded.git_version, ignite_version = excluded.ignite_version,
    src_cli_version = excluded.src_cli_version, kiln_version = excluded.kiln_version,
    extensions = excluded.extensions, slots = excluded.slots, running = excluded.running,
    isolation = excluded.isolation, ended_because = excluded.ended_because, last_seen_at = now()
  returning draining, xmax = 0 as "isNew"`;

function beatValues(beat: ExecutorBeat): unknown[] {
  const texts = [
    beat.os,
    beat.architecture,
    beat.dockerVersion,
    beat.executorVersion,
    beat.gitVersion,
    beat.igniteVersion,
    beat.srcCliVersion,
    beat.kilnVersion,
  ];
  return [
    beat.name,
    beat.queues,
    ...texts.map((text) => text.slice(0, maxTextCharacters).toWellFormed()),
    beat.extensions,
    beat.slots ?? null,
    beat.running ?? null,
    beat.isolation ? JSON.stringify(beat.isolation) : null,
    beat.endedBecause ?? null,
  ];
}
