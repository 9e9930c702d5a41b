import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import type { Peer } from './peer.ts';

const quiet = new Logger(() => () => undefined);
/** What its documentation recommends to start with for high throughput: a local queue and batched completion. */
const completeJobBatchDelayMs = 250;

export const graphileWorker: Peer = {
  name: 'graphile-worker',
  settings: (clients) =>
    `concurrentJobs ${clients}, localQueue.size ${clients + 1}, completeJobBatchDelay ${completeJobBatchDelayMs} ms, pool ${poolSize(clients)}`,
  async run({ connectionString, jobs, clients }) {
    const utils = await makeWorkerUtils({ connectionString, logger: quiet });
    await utils.migrate();
    await utils.release();
    await addJobs(connectionString, jobs);

    let done = 0;
    const finished = Promise.withResolvers<void>();
    const started = performance.now();
    const runner = await run({
      connectionString,
      logger: quiet,
      noHandleSignals: true,
      concurrency: clients,
      maxPoolSize: poolSize(clients),
      preset: {
        worker: { localQueue: { size: clients + 1 }, completeJobBatchDelay: completeJobBatchDelayMs },
      },
      taskList: {
        nothing: () => {
          if (++done === jobs) finished.resolve();
        },
      },
    });
    await finished.promise;
    // Stopping waits for the last batch of completions: a job counts when its outcome is durable.
    await runner.stop();
    return (performance.now() - started) / 1000;
  },
};

function poolSize(clients: number): number {
  return Math.max(10, clients + 2);
}

async function addJobs(connectionString: string, jobs: number): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(
      `select graphile_worker.add_jobs(array(
         select row('nothing', '{}'::json, null, null, null, null, null, null)::graphile_worker.job_spec
         from generate_series(1, $1)))`,
      [jobs],
    );
    await client.query('vacuum analyze');
  } finally {
    await client.end();
  }
}
