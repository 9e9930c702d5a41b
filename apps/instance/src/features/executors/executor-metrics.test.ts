import { describe, expect, it } from 'vitest';
import { createExecutorMetrics } from './executor-metrics.ts';

describe('executor metrics', () => {
  it('adds the executor to each sample and joins families', async () => {
    const metrics = createExecutorMetrics();
    metrics.record(
      'host-1',
      [
        '# HELP jobs_total Jobs done.',
        '# TYPE jobs_total counter',
        'jobs_total 3',
        'jobs_total{queue="a\\"b"} 1e3 1700000000000',
        '# TYPE wait histogram',
        'wait_bucket{le="+Inf"} 4',
        'wait_sum 1.5',
        'wait_count 4',
        '# TYPE up gauge',
        'up{sg_instance="docker-registry",} NaN',
        '',
      ].join('\n'),
    );
    metrics.record('host"2', '# TYPE jobs_total counter\njobs_total 5\n# TYPE wait gauge\nwait 1\n');
    expect(await metrics.expose()).toBe(
      [
        '# HELP jobs_total Jobs done.',
        '# TYPE jobs_total counter',
        'jobs_total{sg_instance="host-1",sg_job="sourcegraph-executors"} 3',
        'jobs_total{queue="a\\"b",sg_instance="host-1",sg_job="sourcegraph-executors"} 1e3 1700000000000',
        'jobs_total{sg_instance="host\\"2",sg_job="sourcegraph-executors"} 5',
        '# TYPE wait histogram',
        'wait_bucket{le="+Inf",sg_instance="host-1",sg_job="sourcegraph-executors"} 4',
        'wait_sum{sg_instance="host-1",sg_job="sourcegraph-executors"} 1.5',
        'wait_count{sg_instance="host-1",sg_job="sourcegraph-executors"} 4',
        '# TYPE up gauge',
        'up{sg_instance="docker-registry",sg_job="sourcegraph-executors-registry"} NaN',
        '',
      ].join('\n'),
    );
  });

  it('forgets them after 30 seconds, and when an executor sends none', async () => {
    let now = 0;
    const metrics = createExecutorMetrics(() => now);
    metrics.record('a', 'x 1\n');
    now = 20_000;
    metrics.record('b', 'x 2\n');
    now = 30_001;
    expect(await metrics.expose()).toBe('x{sg_instance="b",sg_job="sourcegraph-executors"} 2\n');
    metrics.record('b', '');
    expect(await metrics.expose()).toBe('');
  });

  it('leaves out lines that would spoil the whole exposition', async () => {
    const metrics = createExecutorMetrics();
    metrics.record(
      'a',
      'x{le="1} 2\nx e+-\n# TYPE x nonsense\nx 0x1\n}{\nx{a="\\"} 1\n\u0000 1\nx 1 2 3\nx\nkiln_jobs 1\n',
    );
    expect(await metrics.expose()).toBe('');
  });
});
