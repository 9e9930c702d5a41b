import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { BenchResult } from './bench.ts';
import { startBenchInstance, startBenchPostgres } from './site/bench-site.ts';
import { type BenchClient, complete, connect, dequeue, type HeldJob } from './site/client.ts';
import { quantile } from './site/quantiles.ts';

export const about = 'time from the submit request to the executor holding the job, idle instance, over HTTP';

const plainPollMs = 1000;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { jobs: { type: 'string', default: '500' }, plain: { type: 'string', default: '30' } },
  });
  await using postgres = await startBenchPostgres();
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using client = connect(instance, 8, signal);
  await held(client, 100);
  const heldMs = await held(client, Number(values.jobs));
  const polledMs = await polled(client, Number(values.plain));
  return {
    settings: {
      jobs: values.jobs,
      'jobs with a plain poll': values.plain,
      fsync: true,
      'spread of the held dequeue, ms': [0.5, 0.9, 0.95, 0.99, 1]
        .map((at) => quantile(heldMs, at).toFixed(1))
        .join(' '),
    },
    measures: [
      {
        name: 'held dequeue, p50',
        value: quantile(heldMs, 0.5),
        unit: 'ms',
        must: { atMost: 8 },
        aim: { atMost: 3 },
      },
      {
        name: 'held dequeue, p99',
        value: quantile(heldMs, 0.99),
        unit: 'ms',
        must: { atMost: 30 },
        aim: { atMost: 15 },
      },
      { name: `plain poll each ${plainPollMs} ms, p50`, value: quantile(polledMs, 0.5), unit: 'ms' },
      { name: `plain poll each ${plainPollMs} ms, p99`, value: quantile(polledMs, 0.99), unit: 'ms' },
    ],
    notes: ['The clock runs from before the submit request is sent, so a whole submit is in the figure.'],
  };
}

async function held(client: BenchClient, jobs: number): Promise<number[]> {
  const latencies: number[] = [];
  for (let job = 0; job < jobs; job++) {
    const arrival = dequeue(client, 'bench-held', 25).then((claimed) => ({ claimed, at: performance.now() }));
    // The dequeue must be waiting at the instance before the job comes: that is what idle means.
    await sleep(10);
    const begun = performance.now();
    await client.submit();
    const { claimed, at } = await arrival;
    latencies.push(at - begun);
    await complete(client, expectJob(claimed));
  }
  return latencies;
}

async function polled(client: BenchClient, jobs: number): Promise<number[]> {
  const latencies: number[] = [];
  for (let job = 0; job < jobs; job++) {
    const polling = poll(client);
    // Submissions fall anywhere in the poll's period, evenly.
    await sleep((job / jobs) * plainPollMs);
    const begun = performance.now();
    await client.submit();
    const { claimed, at } = await polling;
    latencies.push(at - begun);
    await complete(client, claimed);
  }
  return latencies;
}

async function poll(client: BenchClient): Promise<{ claimed: HeldJob; at: number }> {
  for (;;) {
    const claimed = await dequeue(client, 'bench-plain', 0);
    if (claimed) return { claimed, at: performance.now() };
    await sleep(plainPollMs);
  }
}

function expectJob(job: HeldJob | undefined): HeldJob {
  if (!job) throw new Error('a held dequeue ended without the job that was submitted');
  return job;
}
