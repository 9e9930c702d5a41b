import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startPlainExecutor } from '../test/kit/plain-executor.ts';
import { startPlainInstance } from '../test/kit/plain-instance.ts';
import { outputOf, plainStep, until } from '../test/kit/plain-jobs.ts';
import type { BenchResult } from './bench.ts';
import { type BenchDocker, startBenchDocker } from './site/bench-docker.ts';
import { startBenchExecutor } from './site/bench-executor.ts';
import { startBenchInstance, startBenchPostgres } from './site/bench-site.ts';
import { type ContainerEnds, watchContainerEnds } from './site/container-ends.ts';
import { cancelJob, followJob, submitJob } from './site/jobs.ts';
import { quantile } from './site/quantiles.ts';

export const about =
  'from asking for a cancel to the end of a sleeping step, by Kiln and by a plain instance';

const script = 'echo begun; sleep 600';
/** Cancels are asked for at any moment between two heartbeats. */
const heartbeatMs = 5000;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({ args, options: { runs: { type: 'string', default: '20' } } });
  const runs = Number(values.runs);
  await using docker = await startBenchDocker(signal);
  using ends = watchContainerEnds(docker.socketPath);
  const pushed = await cancelsByKiln(docker, ends, runs, signal);
  const plain = await cancelsByPlainInstance(docker, ends, runs, signal);
  const spread = (all: readonly number[]): string =>
    [0, 0.5, 0.95, 1].map((at) => quantile(all, at).toFixed(0)).join(' ');
  return {
    settings: {
      runs,
      'Kiln (extension cancel-push): min, median, p95, max, ms': spread(pushed),
      'plain instance: min, median, p95, max, ms': spread(plain),
    },
    measures: [
      { name: 'cancel, Kiln, p95', value: quantile(pushed, 0.95), unit: 'ms', must: { atMost: 1000 } },
      { name: 'cancel, plain instance, max', value: quantile(plain, 1), unit: 'ms', must: { atMost: 6000 } },
    ],
    notes: [
      'To the moment in which the daemon sees the container end. A plain instance tells of a cancel when it answers the next heartbeat, which comes each 5 s.',
    ],
  };
}

async function cancelsByKiln(
  docker: BenchDocker,
  ends: ContainerEnds,
  runs: number,
  signal: AbortSignal,
): Promise<number[]> {
  await using postgres = await startBenchPostgres();
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using _executor = await startBenchExecutor({ instance, dockerSocket: docker.socketPath, signal });
  const times: number[] = [];
  for (let turn = 0; turn < runs; turn++) {
    const job = { steps: [{ image: docker.image, run: script }], network: 'none' as const };
    const id = await submitJob(instance, job, signal);
    for await (const { event, data } of followJob(instance, id, signal)) {
      if (event === 'output' && Buffer.from(data.data, 'base64').includes('begun')) break;
      if (event === 'end') throw new Error(`job ${id} ended before it was canceled`);
    }
    await sleep(Math.random() * heartbeatMs, undefined, { signal });
    const end = ends.next();
    const askedAt = performance.timeOrigin + performance.now();
    await cancelJob(instance, id, signal);
    times.push((await end) - askedAt);
  }
  return times;
}

async function cancelsByPlainInstance(
  docker: BenchDocker,
  ends: ContainerEnds,
  runs: number,
  signal: AbortSignal,
): Promise<number[]> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kc-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const instance = cleanup.use(await startPlainInstance());
  cleanup.use(await startPlainExecutor({ instance, dockerSocket: docker.socketPath, directory }));
  const times: number[] = [];
  for (let turn = 0; turn < runs; turn++) {
    const job = instance.enqueue({ dockerSteps: [plainStep([script], { image: docker.image })] });
    await until(() => outputOf(job).includes('stdout: begun'));
    await sleep(Math.random() * heartbeatMs, undefined, { signal });
    const end = ends.next();
    const askedAt = performance.timeOrigin + performance.now();
    instance.cancel(job);
    times.push((await end) - askedAt);
    await instance.ended(job);
  }
  return times;
}
