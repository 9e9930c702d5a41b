import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { createDatabase, type Database, migrate } from '../apps/instance/src/database/index.ts';
import { createQueue, type Queue } from '../apps/instance/src/queue/index.ts';
import type { BenchResult } from './bench.ts';
import { startBenchPostgres } from './site/bench-site.ts';
import { quantile } from './site/quantiles.ts';

export const about = 'dequeue in SQL with much history, a deep backlog and one tenant that owns most of it';

const queuedJobs = 100_000;
const tenants = 1000;
const hog = 1;
const hogShare = 0.9;
const histories = [1000, 1_000_000] as const;
const clientCounts = [1, 8] as const;
/** Claims of each client before the clock starts: connections, plans and caches of an instance that runs already. */
const warmUpClaims = 20;
const log = pino({ level: 'error' }, pino.destination(2));

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({ args, options: { claims: { type: 'string', default: '4000' } } });
  const claims = Number(values.claims);
  await using postgres = await startBenchPostgres();
  const runs: { history: number; clients: number; latencies: number[]; hogClaims: number }[] = [];
  for (const history of histories) {
    const url = await postgres.createDatabase(`history_${history}`);
    await seed(url, history, signal);
    for (const clients of clientCounts)
      runs.push({ history, clients, ...(await claimAll(url, clients, claims, signal)) });
  }
  const p99 = (history: number, clients: number) =>
    quantile(runs.find((one) => one.history === history && one.clients === clients)?.latencies ?? [], 0.99);
  const hogClaims = runs.reduce((sum, { hogClaims }) => sum + hogClaims, 0);
  return {
    settings: {
      'queued jobs': queuedJobs,
      tenants,
      'share of one tenant': hogShare,
      'claims per run': claims,
      clients: 'each with a queue and connections of its own, as instances have; all in this process',
      'claims before, per client': warmUpClaims,
      fsync: true,
      'p50 / p95 / max of each run, ms': runs
        .map(
          ({ history, clients, latencies }) =>
            `${history}x${clients}: ${[0.5, 0.95, 1].map((at) => quantile(latencies, at).toFixed(1)).join('/')}`,
        )
        .join('  '),
    },
    measures: [
      ...runs.map(({ history, clients, latencies }) => ({
        name: `p99, ${history} rows of history, ${clients} client${clients === 1 ? '' : 's'}`,
        value: quantile(latencies, 0.99),
        unit: 'ms',
        must: { atMost: 10 },
        aim: { atMost: 5 },
      })),
      ...clientCounts.map((clients) => ({
        name: `p99 at 1 M : p99 at 1 k, ${clients} client${clients === 1 ? '' : 's'}`,
        value: p99(1_000_000, clients) / p99(1000, clients),
        unit: 'x',
        must: { atMost: 2 },
        aim: { atMost: 1.5 },
      })),
      {
        name: 'claims of the tenant with most jobs',
        value: (100 * hogClaims) / (claims * runs.length),
        unit: '%',
        must: { atMost: 1 },
      },
    ],
  };
}

/** Every tenant but the hog has the same number of queued jobs; history is spread over all of them. */
async function seed(databaseURL: string, history: number, signal: AbortSignal): Promise<void> {
  await using database = open(databaseURL);
  await migrate({ database, log });
  const insert = (state: string, inLane: boolean, tenant: string) =>
    `insert into jobs (queue, tenant, producer, state, in_lane, priority, needs_limits, timeout_seconds, attempt, finished_at)
     select 'jobs', ${tenant}, 'jobs', '${state}', ${inLane}, 0, false, 1800, ${inLane ? 0 : 1}, ${inLane ? 'null' : 'now()'}
     from generate_series(1, $1::int) n`;
  const batch = 100_000;
  for (let rows = 0; rows < history; rows += batch) {
    signal.throwIfAborted();
    await database.query(insert('completed', false, `${hog} + n % ${tenants}`), [
      Math.min(batch, history - rows),
    ]);
  }
  const hogJobs = queuedJobs * hogShare;
  await database.query(insert('queued', true, `${hog}`), [hogJobs]);
  await database.query(insert('queued', true, `${hog} + 1 + n % ${tenants - 1}`), [queuedJobs - hogJobs]);
  await database.query(
    `insert into lanes (queue, tenant, waiting, waiting_plain)
     select queue, tenant, count(*), count(*) from jobs where in_lane group by queue, tenant`,
  );
  await database.query('vacuum analyze jobs');
  await database.query('vacuum analyze lanes');
  // History is not made in seconds: what was just seeded is not to be written to the disk beside the claims.
  await database.query('checkpoint');
}

async function claimAll(databaseURL: string, clients: number, claims: number, interrupted: AbortSignal) {
  await using opened = new AsyncDisposableStack();
  const queues: Queue[] = [];
  for (let client = 0; client < clients; client++) {
    const database = opened.use(open(databaseURL));
    queues.push(opened.use(await createQueue({ database, log })));
  }
  const claim = (claimsPerClient: number) =>
    Promise.all(queues.map((queue, client) => claimOften(queue, client, claimsPerClient, interrupted)));
  await claim(warmUpClaims);
  const made = (await claim(claims / clients)).flat();
  await using database = open(databaseURL);
  const [row] = await database.query<{ jobs: number }>(
    'select count(*)::int as jobs from jobs where id = any($1::bigint[]) and tenant = $2',
    [made.map(({ id }) => id), hog],
  );
  return { latencies: made.map(({ ms }) => ms), hogClaims: row?.jobs ?? Number.NaN };
}

async function claimOften(
  queue: Queue,
  client: number,
  claims: number,
  interrupted: AbortSignal,
): Promise<{ id: number; ms: number }[]> {
  const made: { id: number; ms: number }[] = [];
  while (made.length < claims) {
    interrupted.throwIfAborted();
    const begun = performance.now();
    const job = await queue.dequeue({
      executorName: `bench-${client}`,
      queues: ['jobs'],
      limits: true,
      confirm: false,
      waitSeconds: 0,
      signal: interrupted,
    });
    if (!job) throw new Error('a dequeue found nothing though jobs are queued');
    made.push({ id: job.id, ms: performance.now() - begun });
  }
  return made;
}

function open(connectionString: string): Database {
  return createDatabase({ connection: { connectionString }, log });
}
