import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { BenchResult } from './bench.ts';
import { startBenchInstance, startBenchPostgres } from './site/bench-site.ts';
import { connect } from './site/client.ts';
import { cpuSeconds, residentBytes } from './site/process-figures.ts';
import { quantile } from './site/quantiles.ts';

export const about = 'what a fleet of executors that heartbeat each 5 s costs the instance';

const intervalMs = 5000;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { executors: { type: 'string', default: '1000' }, seconds: { type: 'string', default: '60' } },
  });
  const executors = Number(values.executors);
  const seconds = Number(values.seconds);
  await using postgres = await startBenchPostgres();
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using client = connect(instance, 64, signal);

  const latencies: number[] = [];
  const statuses = new Map<number, number>();
  let failures = 0;
  let peakBytes = 0;
  const beat = async (executor: number, until: number) => {
    await sleep((executor / executors) * intervalMs, undefined, { signal });
    while (performance.now() < until) {
      const begun = performance.now();
      try {
        const { status } = await client.executor('heartbeat', heartbeat(executor));
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      } catch {
        failures++;
      }
      latencies.push(performance.now() - begun);
      await sleep(Math.max(0, intervalMs - (performance.now() - begun)), undefined, { signal });
    }
  };
  const cpuBefore = await cpuSeconds(instance.pid);
  const begun = performance.now();
  const until = begun + seconds * 1000;
  const watching = (async () => {
    while (performance.now() < until) {
      peakBytes = Math.max(peakBytes, await residentBytes(instance.pid));
      await sleep(500, undefined, { signal });
    }
  })();
  await Promise.all(Array.from({ length: executors }, (_, executor) => beat(executor, until)));
  await watching;
  const cpuShare = ((await cpuSeconds(instance.pid)) - cpuBefore) / ((performance.now() - begun) / 1000);

  return {
    settings: {
      executors,
      'heartbeat interval, s': intervalMs / 1000,
      'duration, s': seconds,
      heartbeats: latencies.length,
      statuses: [...statuses].map(([status, count]) => `${status}: ${count}`).join(' '),
      'answer p50 / p99, ms': `${quantile(latencies, 0.5).toFixed(1)} / ${quantile(latencies, 0.99).toFixed(1)}`,
      'jobs running': 0,
      fsync: true,
    },
    measures: [
      { name: 'answers of 5xx and lost connections', value: failures, unit: '', must: { atMost: 0 } },
      {
        name: 'instance, resident memory at its highest',
        value: peakBytes / 1e6,
        unit: 'MB',
        must: { atMost: 400 },
      },
      { name: 'instance, share of one core', value: cpuShare * 100, unit: '%', aim: { atMost: 50 } },
    ],
  };
}

function heartbeat(executor: number): object {
  return {
    executorName: `bench-host-${executor}`,
    jobIds: null,
    os: 'linux',
    architecture: 'amd64',
    executorVersion: '6.10.0',
    gitVersion: '2.39.5',
    dockerVersion: '20.10.24',
    slots: 4,
    running: 0,
    isolation: { runtime: 'docker' },
    prometheusMetrics:
      '# TYPE src_executor_processor_handlers gauge\nsrc_executor_processor_handlers{queue="jobs"} 0\n',
  };
}
