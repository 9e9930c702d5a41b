import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { ApiError } from '../api-error.ts';
import { createServer } from '../server.ts';
import { createMetrics, type MetricsSources, metricsRoute, serveMetrics } from './index.ts';

const log = pino({ level: 'silent' });
const sources: MetricsSources = {
  queueCounts: async () => [
    { queue: 'jobs', waiting: 3, delayed: 1, processing: 2, oldestWaitingSeconds: 12.5 },
  ],
  executors: async () => [
    { active: true, draining: false, queues: ['jobs', 'batches'] },
    { active: true, draining: true, queues: ['jobs'] },
    { active: false, draining: false, queues: ['jobs'] },
  ],
  leftovers: async () => ({ logs_to_archive: 4 }),
  executorMetrics: async () => 'node_x{sg_instance="e"} 1\n',
};

describe('metrics', () => {
  it('expose what happened and what is', async () => {
    const metrics = createMetrics(log);
    metrics.connect(sources);
    metrics.queueObserver.claimed('jobs', 0.3);
    metrics.queueObserver.ended('jobs', 'failed', 'lost');
    metrics.onDequeue(0.02, 'job');
    const text = await metrics.text();
    for (const line of [
      'kiln_queue_jobs{queue="jobs",state="waiting"} 3',
      'kiln_queue_jobs{queue="batches",state="waiting"} 0',
      'kiln_queue_oldest_waiting_seconds{queue="jobs"} 12.5',
      'kiln_executors{queue="jobs",state="ready"} 1',
      'kiln_executors{queue="jobs",state="draining"} 1',
      'kiln_leftovers{kind="logs_to_archive"} 4',
      'kiln_job_wait_seconds_count{queue="jobs"} 1',
      'kiln_jobs_ended_total{queue="jobs",state="failed",failure_kind="lost"} 1',
      'kiln_jobs_ended_total{queue="jobs",state="completed",failure_kind=""} 0',
      'kiln_dequeue_seconds_bucket{le="0.025",outcome="job"} 1',
      'node_x{sg_instance="e"} 1',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
  });

  it('leave out what cannot be read rather than everything', async () => {
    const metrics = createMetrics(log);
    metrics.connect({ ...sources, queueCounts: () => Promise.reject(new Error('no database')) });
    const text = await metrics.text();
    expect(text).not.toContain('kiln_queue_jobs{');
    expect(text).toContain('kiln_process_cpu_seconds_total');
  });

  it('are for peers on this machine and for site admins', async () => {
    const metrics = createMetrics(log);
    const server = await createServer({ log });
    server.addHook('onResponse', metrics.onResponse);
    await server.register(async (scope) =>
      metricsRoute(scope, {
        metrics,
        authorizeSiteAdmin: async ({ headers }) => {
          if (headers.authorization !== 'token admin') throw new ApiError(401, 'unauthenticated', 'no');
        },
      }),
    );
    const get = (remoteAddress: string, headers = {}) =>
      server.inject({ method: 'GET', url: '/metrics', remoteAddress, headers });
    for (const local of ['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1']) {
      expect((await get(local)).statusCode, local).toBe(200);
    }
    expect((await get('10.0.0.1')).statusCode).toBe(401);
    expect((await get('10.0.0.1', { authorization: 'token admin' })).statusCode).toBe(200);
    expect((await get('127.0.0.1', { 'x-forwarded-for': '10.0.0.1' })).statusCode).toBe(401);
    const reply = await get('127.0.0.1');
    expect(reply.headers['content-type']).toContain('text/plain');
    expect(reply.body).toContain(
      'kiln_http_request_seconds_count{method="GET",route="/metrics",status="200"}',
    );
    await server.close();
  });

  it('have an address of their own when asked', async () => {
    const metrics = createMetrics(log);
    await using served = await serveMetrics(metrics, { host: '127.0.0.1', port: 0 }, log);
    const reply = await fetch(`http://127.0.0.1:${served.port}/metrics`);
    expect([reply.status, await reply.text()]).toEqual([200, expect.stringContaining('kiln_')]);
    expect((await fetch(`http://127.0.0.1:${served.port}/other`)).status).toBe(404);
  });
});
