import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { BenchResult } from './bench.ts';
import { startBenchDocker } from './site/bench-docker.ts';
import { startBenchExecutor } from './site/bench-executor.ts';
import { startBenchInstance, startBenchPostgres } from './site/bench-site.ts';
import { completion, followJob, submitJob } from './site/jobs.ts';
import { quantile } from './site/quantiles.ts';

export const about =
  'one `true` step from submit to outcome, beside `docker run` of the same on the same daemon';

const networks = ['public', 'none'] as const;
const pauseMs = 200;
const warmUps = 3;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({ args, options: { runs: { type: 'string', default: '20' } } });
  const runs = Number(values.runs);
  await using docker = await startBenchDocker(signal);
  await using postgres = await startBenchPostgres();
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using _executor = await startBenchExecutor({ instance, dockerSocket: docker.socketPath, signal });
  // The private daemon has no default bridge; this one is like it.
  await docker.docker(['network', 'create', 'bench']);

  const viaDocker = async (network: string): Promise<void> => {
    const onNetwork = network === 'public' ? 'bench' : network;
    await docker.docker(['run', '--rm', '--network', onNetwork, docker.image, 'true']);
  };
  const viaKiln = async (network: (typeof networks)[number]): Promise<void> => {
    const id = await submitJob(instance, { steps: [{ image: docker.image, run: 'true' }], network }, signal);
    await completion(followJob(instance, id, signal));
  };

  const none = (): { docker: number[]; kiln: number[] } => ({ docker: [], kiln: [] });
  const times = { public: none(), none: none() };
  // In turns, so that what else the machine does falls on both alike.
  for (let turn = -warmUps; turn < runs; turn++) {
    for (const network of networks) {
      const dockerMs = await timed(() => viaDocker(network));
      await sleep(pauseMs, undefined, { signal });
      const kilnMs = await timed(() => viaKiln(network));
      await sleep(pauseMs, undefined, { signal });
      if (turn < 0) continue;
      times[network].docker.push(dockerMs);
      times[network].kiln.push(kilnMs);
    }
  }

  const spread = (all: readonly number[]): string =>
    [0, 0.5, 0.9, 1].map((at) => quantile(all, at).toFixed(0)).join(' ');
  return {
    settings: {
      runs,
      'docker client': await docker.docker([
        'version',
        '--format',
        '{{.Client.Version}}, daemon {{.Server.Version}}',
      ]),
      'storage driver': await docker.docker(['info', '--format', '{{.Driver}}']),
      ...Object.fromEntries(
        networks.flatMap((network) => [
          [`docker run, network ${network}: min, median, p90, max, ms`, spread(times[network].docker)],
          [`job, network ${network}: min, median, p90, max, ms`, spread(times[network].kiln)],
        ]),
      ),
      fsync: true,
    },
    measures: networks.flatMap((network) => {
      const dockerMs = quantile(times[network].docker, 0.5);
      const kilnMs = quantile(times[network].kiln, 0.5);
      return [
        { name: `docker run, network ${network}, median`, value: dockerMs, unit: 'ms' },
        {
          name: `job, network ${network}, median`,
          value: kilnMs,
          unit: 'ms',
          must: { atMost: 1.5 * dockerMs + 150 },
        },
      ];
    }),
    notes: [
      'The bound of a job is 1.5 times `docker run` + 150 ms. A job with network `public` makes a network of its own with firewall rules, and takes it away; `docker run` uses one that is there.',
      'Both times include the removal of the container.',
    ],
  };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
