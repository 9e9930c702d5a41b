import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { request } from 'undici';
import type { ObserveCall } from '../client/index.ts';
import type { JobEnd } from '../job/index.ts';
import type { Logger } from '../process-log/index.ts';
import type { Runtime } from '../runtimes/runtime.ts';
import { type Families, joinExpositions, readExposition } from './exposition.ts';
import { createOperations } from './operations.ts';
import { recentMaximum } from './recent-maximum.ts';

/** The executor's own metrics, under the reference's names, and those of the exporters beside it. */
export interface Metrics {
  /** Counts and times a job. */
  job(run: () => Promise<JobEnd>): Promise<JobEnd>;
  /** Counts and times a call to the instance. */
  call: ObserveCall;
  /** Counts a logged command of a job that has ended. */
  command(logKey: string, seconds: number, exitCode: number): void;
  /** Counts a round of cleaning up that failed. */
  janitorFailed(): void;
  /** Everything as text for a heartbeat. Exporters are asked in the background: their previous answers are used. */
  exposition(): Promise<string>;
}

export interface MetricsOptions {
  queues: readonly string[];
  counts: Runtime['counts'];
  nodeExporterUrl: URL | undefined;
  dockerRegistryNodeExporterUrl: URL | undefined;
  log: Logger;
}

const scrapeMilliseconds = 2000;
const mostScrapedBytes = 4 * 2 ** 20;
/** As often as heartbeats are sent, so that no short job is missed. */
const handlersSeconds = 5;

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const queue = [...options.queues].sort().join('_');
  const jobs = createOperations({
    registry,
    prefix: 'src_executor_processor',
    what: 'jobs, from taking one to having told its outcome; what did not complete counts as failed',
    buckets: [30, 60, 150, 300, 450, 600, 900, 1200, 1800, 2700, 3600],
    labels: { queue },
  });
  const commands = createOperations({
    registry,
    prefix: 'src_apiworker_command',
    what: 'commands of jobs: `exec` is every step, the others are named by their log key',
  });
  const calls = {
    queue: createOperations({
      registry,
      prefix: 'src_apiworker_apiclient_queue',
      what: 'calls to the instance about jobs; a dequeue and a heartbeat may be held open by it',
    }),
    files: createOperations({
      registry,
      prefix: 'src_apiworker_apiclient_files',
      what: "calls to the instance for a job's files",
    }),
  };
  const running = recentMaximum(handlersSeconds);
  new Gauge({
    name: 'src_executor_processor_handlers',
    help: `Jobs running: the most within the last ${handlersSeconds} s.`,
    labelNames: ['queue'],
    registers,
    collect() {
      this.set({ queue }, running.highest());
    },
  });
  const counts = () => options.counts?.() ?? { open: 0, orphansRemoved: 0 };
  new Gauge({
    name: 'src_executor_vms_total',
    help: "Sandboxes of jobs that are on the machine: microVMs, or containers with their job's network.",
    registers,
    collect() {
      this.set(counts().open);
    },
  });
  const orphans = new Counter({
    name: 'src_executor_orphaned_vms_removed_total',
    help: 'Sandboxes removed that executors left which were killed.',
    registers,
    collect() {
      this.reset();
      this.inc(counts().orphansRemoved);
    },
  });
  orphans.inc(0);
  const janitorErrors = new Counter({
    name: 'src_executor_janitor_errors_total',
    help: 'Rounds of cleaning up that failed.',
    registers,
  });
  for (const what of ['wait', 'held'])
    new Counter({
      name: `src_executor_run_lock_${what}_total`,
      help: 'Always 0: jobs do not wait for each other. Dashboards made for other executors ask for it.',
      registers,
    });
  const scraped = new Map<string, Families>();
  let scraping = false;

  async function scrapeAll(): Promise<void> {
    if (scraping) return;
    scraping = true;
    await Promise.all(
      exporters(options).map(async ({ url, labels }) => {
        try {
          scraped.set(url, readExposition(await fetchText(url), labels));
        } catch (error) {
          scraped.delete(url);
          options.log.debug({ error, url }, 'an exporter did not answer');
        }
      }),
    );
    scraping = false;
  }

  return {
    async job(run) {
      const startedAt = performance.now();
      running.add(1);
      let failed = true;
      try {
        const end = await run();
        failed = end.kind !== 'markComplete';
        return end;
      } finally {
        running.add(-1);
        jobs.done('handle', (performance.now() - startedAt) / 1000, failed);
      }
    },
    call: (kind, op, work) => calls[kind].observe(op, work),
    command(logKey, seconds, exitCode) {
      commands.done(logKey.startsWith('step.') ? 'exec' : logKey, seconds, exitCode !== 0);
    },
    janitorFailed: () => janitorErrors.inc(),
    async exposition() {
      void scrapeAll();
      const own: Families = new Map([['', { comments: [await registry.metrics()], samples: [] }]]);
      return joinExpositions([own, ...scraped.values()]);
    },
  };
}

function exporters(options: MetricsOptions): { url: string; labels: Record<string, string> }[] {
  const { nodeExporterUrl: node, dockerRegistryNodeExporterUrl: mirror } = options;
  const base = (url: URL) => url.href.replace(/\/+$/, '');
  const labels = { sg_instance: 'docker-registry' };
  return [
    ...(node === undefined ? [] : [{ url: `${base(node)}/metrics`, labels: {} }]),
    ...(mirror === undefined
      ? []
      : ['registry', 'node'].map((module) => ({ url: `${base(mirror)}/proxy?module=${module}`, labels }))),
  ];
}

async function fetchText(url: string): Promise<string> {
  const { statusCode, body } = await request(url, { signal: AbortSignal.timeout(scrapeMilliseconds) });
  if (statusCode !== 200) {
    await body.dump();
    throw new Error(`the exporter answered ${statusCode}`);
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > mostScrapedBytes)
      throw new Error(`the exporter answered more than ${mostScrapedBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
