import { parseArgs } from 'node:util';
import type { BenchResult, Measure } from './bench.ts';
import { graphileWorker } from './peers/graphile-worker.ts';
import { pgBoss } from './peers/pg-boss.ts';
import { type BenchPostgres, startBenchInstance, startBenchPostgres } from './site/bench-site.ts';
import { type BenchClient, complete, connect, dequeue, inParallel } from './site/client.ts';

export const about = 'jobs/s of dequeue + complete over HTTP with authentication, tokens and documents';

const clientCounts = [1, 16, 64] as const;
const peers = [graphileWorker, pgBoss];

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { jobs: { type: 'string', default: '10000' }, peers: { type: 'boolean', default: true } },
    allowNegative: true,
  });
  const jobs = Number(values.jobs);
  await using postgres = await startBenchPostgres();
  return {
    settings: {
      'jobs per run': `${jobs} (${oneClientJobs(jobs)} with 1 client)`,
      'transport of Kiln': 'HTTP on loopback, one connection per client, client in a process of its own',
      'transport of the peers': 'none: they run in the client process, straight on Postgres',
      fsync: true,
      ...Object.fromEntries(peers.map((peer) => [`${peer.name} at 64`, peer.settings(64)])),
    },
    measures: [
      ...(await measureKiln(postgres, jobs, signal)),
      ...(values.peers ? await measurePeers(postgres, jobs, signal) : []),
    ],
    notes: [
      'The peers hand out empty jobs in batches without HTTP, tokens, logs or fairness between tenants.',
    ],
  };
}

async function measureKiln(postgres: BenchPostgres, jobs: number, signal: AbortSignal): Promise<Measure[]> {
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using client = connect(instance, 64, signal);
  await drain(client, await submit(client, 2000), 16);
  const measures: Measure[] = [];
  for (const clients of clientCounts) {
    const count = clients === 1 ? oneClientJobs(jobs) : jobs;
    await submit(client, count);
    const seconds = await drain(client, count, clients);
    measures.push({
      name: `Kiln, ${clients} client${clients === 1 ? '' : 's'}`,
      value: count / seconds,
      unit: 'jobs/s',
      ...(clients === 64 && { must: { atLeast: 1000 }, aim: { atLeast: 4000 } }),
    });
  }
  return measures;
}

async function submit(client: BenchClient, jobs: number): Promise<number> {
  await inParallel(64, jobs, async () => {
    await client.submit();
  });
  return jobs;
}

/** @returns seconds */
async function drain(client: BenchClient, jobs: number, clients: number): Promise<number> {
  const begun = performance.now();
  await inParallel(clients, jobs, async (number) => {
    const job = await dequeue(client, `bench-${number}`, 5);
    if (!job) throw new Error('a dequeue found nothing though jobs are queued');
    await complete(client, job);
  });
  return (performance.now() - begun) / 1000;
}

async function measurePeers(postgres: BenchPostgres, jobs: number, signal: AbortSignal): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const peer of peers) {
    const connectionString = await postgres.createDatabase(peer.name);
    for (const clients of clientCounts) {
      signal.throwIfAborted();
      const count = clients === 1 ? oneClientJobs(jobs) : jobs;
      const seconds = await peer.run({ connectionString, jobs: count, clients });
      measures.push({ name: `${peer.name}, ${clients}`, value: count / seconds, unit: 'jobs/s' });
    }
  }
  return measures;
}

function oneClientJobs(jobs: number): number {
  return Math.ceil(jobs / 10);
}
