import { parseArgs } from 'node:util';
import type { BenchResult } from './bench.ts';
import { type LogSite, writeLargeLog } from './log-load/large-log.ts';
import { measureLineLatency } from './log-load/line-latency.ts';
import { blockBytes, randomLines, textLikeBuildLogs } from './log-load/texts.ts';
import { startBenchDocker } from './site/bench-docker.ts';
import { startBenchExecutor } from './site/bench-executor.ts';
import { startBenchInstance, startBenchPostgres } from './site/bench-site.ts';
import { startCountingProxy } from './site/counting-proxy.ts';
import { quantile } from './site/quantiles.ts';

export const about =
  'a large log: bytes from executor to instance, memory of the instance, time to a subscriber';

const warmUpMegabytes = 5;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: { megabytes: { type: 'string', default: '100' }, lines: { type: 'string', default: '300' } },
  });
  const megabytes = Number(values.megabytes);
  const bytes = megabytes * blockBytes;
  await using docker = await startBenchDocker(signal);
  await using postgres = await startBenchPostgres();
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using proxy = await startCountingProxy(instance.url);
  await using _executor = await startBenchExecutor({
    instance,
    dockerSocket: docker.socketPath,
    env: { EXECUTOR_FRONTEND_URL: proxy.url },
    signal,
  });
  const site: LogSite = { instance, proxy, image: docker.image, signal };

  await writeLargeLog(site, { text: textLikeBuildLogs, megabytes: warmUpMegabytes, watched: true });
  console.error(`writing ${megabytes} MB of build text, then of random text`);
  const build = await writeLargeLog(site, { text: textLikeBuildLogs, megabytes, watched: false });
  const random = await writeLargeLog(site, { text: randomLines, megabytes, watched: true });
  const latencies = await measureLineLatency(site, Number(values.lines));

  const runs = [
    { name: 'build text', ...build },
    { name: 'random text, watched', ...random },
  ];
  const each = (figure: (one: (typeof runs)[number]) => string): string =>
    runs.map((one) => `${figure(one)} (${one.name})`).join(', ');
  return {
    settings: {
      'bytes that a step writes': bytes,
      'gzip -1 of the log itself, x': each(({ gzipShare }) => gzipShare.toFixed(3)),
      'seconds from submit to outcome': each(({ seconds }) => seconds.toFixed(1)),
      'instance before it, MiB': each(({ idleBytes }) => (idleBytes / 2 ** 20).toFixed(0)),
      'lines to the subscriber': `${latencies.length}, one each 100 ms`,
      'spread of their times, ms': [0, 0.5, 0.9, 0.95, 0.99, 1]
        .map((at) => quantile(latencies, at).toFixed(0))
        .join(' '),
      fsync: true,
    },
    measures: [
      ...runs.flatMap(({ name, wireBytes, plainBytes, idleBytes, peakBytes }) => [
        {
          name: `wire : log, ${name}`,
          value: wireBytes / bytes,
          unit: 'x',
          must: { atMost: 1.4 },
          aim: { atMost: 1.1 },
        },
        { name: `wire : log without its gzip, ${name}`, value: plainBytes / bytes, unit: 'x' },
        {
          name: `growth of the instance, ${name}`,
          value: (peakBytes - idleBytes) / 2 ** 20,
          unit: 'MiB',
          must: { atMost: 64 },
        },
      ]),
      {
        name: 'line to subscriber, p95',
        value: quantile(latencies, 0.95),
        unit: 'ms',
        must: { atMost: 250 },
      },
    ],
    notes: [
      'On the wire: all that the executor sends to the instance until the outcome. The log: what the step writes, without the prefix that each line gets.',
      'Times to the subscriber are 0 to 10 ms too high: they begin with a clock that shows hundredths of a second, rounded down.',
    ],
  };
}
