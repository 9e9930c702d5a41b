import type { QueueName } from '@kiln/protocol';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { request } from 'undici';
import type { JobEnd } from '../job/index.ts';
import type { Logger } from '../process-log/index.ts';
import { type Families, joinExpositions, readExposition } from './exposition.ts';

/** The executor's own metrics, under the reference's names, and those of the exporters beside it. */
export interface Metrics {
  /** Counts and times a job. */
  job(queue: QueueName, run: () => Promise<JobEnd>): Promise<JobEnd>;
  /** Everything as text for a heartbeat. Exporters are asked in the background: their previous answers are used. */
  exposition(): Promise<string>;
}

export interface MetricsOptions {
  nodeExporterUrl: URL | undefined;
  dockerRegistryNodeExporterUrl: URL | undefined;
  log: Logger;
}

const scrapeMilliseconds = 2000;
const mostScrapedBytes = 4 * 2 ** 20;

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const labelNames = ['queue', 'op'];
  const registers = [registry];
  const duration = new Histogram({
    name: 'src_executor_processor_duration_seconds',
    help: 'Time from taking a job to having told its outcome.',
    labelNames,
    registers,
    buckets: [30, 60, 150, 300, 450, 600, 900, 1200, 1800, 2700, 3600],
  });
  const total = new Counter({
    name: 'src_executor_processor_total',
    help: 'Jobs run.',
    labelNames,
    registers,
  });
  const errors = new Counter({
    name: 'src_executor_processor_errors_total',
    help: 'Jobs run that did not complete.',
    labelNames,
    registers,
  });
  const handlers = new Gauge({
    name: 'src_executor_processor_handlers',
    help: 'Jobs running.',
    labelNames: ['queue'],
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
    async job(queue, run) {
      const labels = { queue, op: 'handle' };
      const stopTimer = duration.startTimer(labels);
      handlers.inc({ queue });
      try {
        const end = await run();
        if (end.kind !== 'markComplete') errors.inc(labels);
        return end;
      } finally {
        stopTimer();
        total.inc(labels);
        handlers.dec({ queue });
      }
    },
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
