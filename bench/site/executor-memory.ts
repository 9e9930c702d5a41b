import { startBenchExecutor } from './bench-executor.ts';
import { type BenchInstance, startBenchInstance, startBenchPostgres } from './bench-site.ts';
import { cancelJob, followJob, submitJob } from './jobs.ts';
import { residentBytes } from './process-figures.ts';

export interface ExecutorMemoryOptions {
  vms: number;
  /** Of an executor, with a guest in it. */
  dataDirectory: string;
  image: string;
  /** How the image is got, as JSON. */
  dockerAuthConfig: string;
  signal: AbortSignal;
}

/** Resident memory of an executor process, in bytes, while so many VMs run, each with a step that has written something. */
export async function executorMemory(options: ExecutorMemoryOptions): Promise<number> {
  const { vms, dataDirectory, image, dockerAuthConfig, signal } = options;
  await using postgres = await startBenchPostgres();
  await using instance = await startBenchInstance(await postgres.createDatabase('kiln'), signal);
  await using executor = await startBenchExecutor({
    instance,
    dataDirectory,
    env: {
      EXECUTOR_MAXIMUM_NUM_JOBS: String(vms),
      EXECUTOR_JOB_NUM_CPUS: '1',
      EXECUTOR_JOB_MEMORY: '256M',
      EXECUTOR_FIRECRACKER_DISK_SPACE: '1G',
      EXECUTOR_DOCKER_AUTH_CONFIG: dockerAuthConfig,
    },
    signal,
  });
  const job = { steps: [{ image, run: 'echo up; sleep 600' }], network: 'none' as const };
  const ids = await Promise.all(Array.from({ length: vms }, () => submitJob(instance, job, signal)));
  await Promise.all(ids.map((id) => untilUp(instance, id, signal)));
  const bytes = await residentBytes(executor.pid);
  // An executor that is told to stop lets its jobs finish.
  await Promise.all(ids.map((id) => cancelJob(instance, id, signal)));
  return bytes;
}

async function untilUp(instance: BenchInstance, id: number, signal: AbortSignal): Promise<void> {
  for await (const { event, data } of followJob(instance, id, signal)) {
    if (event === 'output' && Buffer.from(data.data, 'base64').includes('stdout: up')) return;
    if (event === 'end') throw new Error(`job ${id} ended before its step wrote anything`);
  }
}
