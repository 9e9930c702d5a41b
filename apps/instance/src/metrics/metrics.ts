import { type ExecutorView, endedStates, type QueueName, queueNames } from '@kiln/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { QueueCounts, QueueObserver } from '../queue/index.ts';

/** What is read anew at each scrape. */
export interface MetricsSources {
  queueCounts(): Promise<QueueCounts[]>;
  executors(): Promise<Pick<ExecutorView, 'active' | 'draining' | 'queues'>[]>;
  /** Things that should have been cleaned up and were not yet, by kind. */
  leftovers(): Promise<Record<string, number>>;
  /** The metrics that executors sent, in the text format. */
  executorMetrics(): Promise<string>;
}

/** The instance's own metrics, `kiln_*`, and those of its executors. */
export interface Metrics {
  /** For `createQueue`. */
  queueObserver: QueueObserver;
  /** For the executor API. */
  onDequeue(seconds: number, outcome: 'job' | 'none'): void;
  /** An `onResponse` hook for the whole server. */
  onResponse(request: FastifyRequest, reply: FastifyReply): Promise<void>;
  /** Where scrapes get their figures; set once those rooms are open. */
  connect(sources: MetricsSources): void;
  /** Everything as one text exposition. */
  text(): Promise<string>;
  contentType: string;
}

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const waitBuckets = [0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600];

export function createMetrics(log: Logger): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'kiln_' });
  const registers = [registry];
  const queued = new Histogram({
    name: 'kiln_job_wait_seconds',
    help: 'Time from the queueing of a job to its claim, of the claims of this process.',
    labelNames: ['queue'],
    buckets: waitBuckets,
    registers,
  });
  const ended = new Counter({
    name: 'kiln_jobs_ended_total',
    help: 'Jobs that ended, by the state in which they did; failure_kind is empty unless they failed.',
    labelNames: ['queue', 'state', 'failure_kind'],
    registers,
  });
  // So that a rate can be told from the first job on.
  for (const queue of queueNames) {
    for (const state of endedStates) if (state !== 'failed') ended.inc({ queue, state, failure_kind: '' }, 0);
  }
  const dequeues = new Histogram({
    name: 'kiln_dequeue_seconds',
    help: 'Time that a dequeue request took, waiting for a job included, by outcome.',
    labelNames: ['outcome'],
    buckets: secondsBuckets,
    registers,
  });
  const http = new Histogram({
    name: 'kiln_http_request_seconds',
    help: 'Time to answer a request, held ones included.',
    labelNames: ['method', 'route', 'status'],
    buckets: secondsBuckets,
    registers,
  });
  const gauges = createGauges(registers);
  let sources: MetricsSources | undefined;

  return {
    queueObserver: {
      claimed: (queue, seconds) => queued.observe({ queue }, seconds),
      ended: (queue, state, failureKind) => ended.inc({ queue, state, failure_kind: failureKind ?? '' }),
    },
    onDequeue: (seconds, outcome) => dequeues.observe({ outcome }, seconds),
    async onResponse(request, reply) {
      // The pattern, not the path: paths hold ids, and strangers choose them.
      const route = request.routeOptions.url ?? 'none';
      http.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
    },
    connect(connected) {
      sources = connected;
    },
    async text() {
      if (!sources) return registry.metrics();
      const [, executors] = await Promise.all([
        gauges.read(sources).catch((err: unknown) => {
          // Better without these than no metrics at all when the database is away.
          log.warn({ err }, 'the figures of the database are missing in this scrape');
          gauges.reset();
        }),
        sources.executorMetrics(),
      ]);
      return `${(await registry.metrics()).trimEnd()}\n${executors}`;
    },
    contentType: registry.contentType,
  };
}

/** Figures that are read from the database for each scrape. */
function createGauges(registers: Registry[]) {
  const jobs = new Gauge({
    name: 'kiln_queue_jobs',
    help: 'Jobs in a queue: waiting (claimable), delayed, processing.',
    labelNames: ['queue', 'state'],
    registers,
  });
  const oldest = new Gauge({
    name: 'kiln_queue_oldest_waiting_seconds',
    help: 'Age of the waiting job that was queued first; 0 when none waits.',
    labelNames: ['queue'],
    registers,
  });
  const executors = new Gauge({
    name: 'kiln_executors',
    help: 'Executors with a heartbeat in the last 15 seconds that serve a queue: ready or draining.',
    labelNames: ['queue', 'state'],
    registers,
  });
  const leftovers = new Gauge({
    name: 'kiln_leftovers',
    help: 'Things that should have been cleaned up and were not yet.',
    labelNames: ['kind'],
    registers,
  });
  const reset = (): void => {
    for (const gauge of [jobs, oldest, executors, leftovers]) gauge.reset();
  };
  return {
    reset,
    async read(sources: MetricsSources): Promise<void> {
      const [counts, fleet, left] = await Promise.all([
        sources.queueCounts(),
        sources.executors(),
        sources.leftovers(),
      ]);
      reset();
      for (const queue of queueNames) {
        const of = counts.find((count) => count.queue === queue);
        jobs.set({ queue, state: 'waiting' }, of?.waiting ?? 0);
        jobs.set({ queue, state: 'delayed' }, of?.delayed ?? 0);
        jobs.set({ queue, state: 'processing' }, of?.processing ?? 0);
        oldest.set({ queue }, of?.oldestWaitingSeconds ?? 0);
        for (const draining of [false, true]) {
          const count = fleet.filter((one) => serves(one, queue) && one.draining === draining).length;
          executors.set({ queue, state: draining ? 'draining' : 'ready' }, count);
        }
      }
      for (const [kind, count] of Object.entries(left)) leftovers.set({ kind }, count);
    },
  };
}

function serves(executor: Pick<ExecutorView, 'active' | 'queues'>, queue: QueueName): boolean {
  return executor.active && executor.queues.includes(queue);
}
