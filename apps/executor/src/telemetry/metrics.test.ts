import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createMetrics } from './metrics.ts';
import { recentMaximum } from './recent-maximum.ts';

function metricsOf(queues: string[]) {
  return createMetrics({
    queues,
    counts: () => ({ open: 2, orphansRemoved: 3 }),
    nodeExporterUrl: undefined,
    dockerRegistryNodeExporterUrl: undefined,
    log: pino({ level: 'silent' }),
  });
}

/** Every sample of the executor's own, without the figures of its process. */
async function samples(metrics: ReturnType<typeof metricsOf>): Promise<string[]> {
  const lines = (await metrics.exposition()).split('\n');
  return lines.filter((line) => line.startsWith('src_') && !/_(bucket|sum)[{ ]/.test(line));
}

test("the reference's metrics, by the executor's queues and by operation", async () => {
  const metrics = metricsOf(['codeintel', 'batches']);
  await metrics.job(async () => ({ kind: 'markComplete' }));
  await metrics.job(async () => ({ kind: 'markErrored', message: 'exit code 1' }));
  await metrics.call('queue', 'Dequeue', async () => 1);
  await expect(metrics.call('files', 'Get', () => Promise.reject(new Error('404')))).rejects.toThrow('404');
  metrics.command('setup.git.fetch', 1.5, 0);
  metrics.command('step.docker.0', 2, 3);
  metrics.command('step.docker.step.1.run', 2, 0);
  metrics.janitorFailed();
  expect(await samples(metrics)).toEqual([
    'src_executor_processor_duration_seconds_count{queue="batches_codeintel",op="handle"} 2',
    'src_executor_processor_total{queue="batches_codeintel",op="handle"} 2',
    'src_executor_processor_errors_total{queue="batches_codeintel",op="handle"} 1',
    'src_apiworker_command_duration_seconds_count{op="setup.git.fetch"} 1',
    'src_apiworker_command_duration_seconds_count{op="exec"} 2',
    'src_apiworker_command_total{op="setup.git.fetch"} 1',
    'src_apiworker_command_total{op="exec"} 2',
    'src_apiworker_command_errors_total{op="setup.git.fetch"} 0',
    'src_apiworker_command_errors_total{op="exec"} 1',
    'src_apiworker_apiclient_queue_duration_seconds_count{op="Dequeue"} 1',
    'src_apiworker_apiclient_queue_total{op="Dequeue"} 1',
    'src_apiworker_apiclient_queue_errors_total{op="Dequeue"} 0',
    'src_apiworker_apiclient_files_duration_seconds_count{op="Get"} 1',
    'src_apiworker_apiclient_files_total{op="Get"} 1',
    'src_apiworker_apiclient_files_errors_total{op="Get"} 1',
    'src_executor_processor_handlers{queue="batches_codeintel"} 1',
    'src_executor_vms_total 2',
    'src_executor_orphaned_vms_removed_total 3',
    'src_executor_janitor_errors_total 1',
    'src_executor_run_lock_wait_total 0',
    'src_executor_run_lock_held_total 0',
  ]);
  expect(await metrics.exposition()).toContain(
    'src_executor_processor_duration_seconds_bucket{le="3600",queue="batches_codeintel",op="handle"} 2',
  );
  expect((await samples(metrics)).filter((line) => line.includes('orphaned'))).toEqual([
    'src_executor_orphaned_vms_removed_total 3',
  ]);
});

test('a maximum is remembered for its time, and no longer', () => {
  let now = 0;
  const running = recentMaximum(5, () => now);
  running.add(1);
  running.add(1);
  now = 1000;
  running.add(-1);
  expect(running.highest()).toBe(2);
  now = 6000;
  expect(running.highest()).toBe(2);
  now = 6001;
  expect(running.highest()).toBe(1);
  running.add(-1);
  now = 12_000;
  expect(running.highest()).toBe(0);
});
