import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobView } from '@kiln/protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Dockerd, startDockerd } from '../../tools/docker/index.ts';
import { buildTestImages, testImages } from '../kit/images.ts';
import { type HostileSite, hasEnded, startHostileSite } from './site.ts';

const { busybox: image } = testImages;
const jobCount = 50;

let directory: string;
let docker: Dockerd;
let hostile: HostileSite;

beforeAll(async () => {
  // Short: a socket's path holds 108 bytes.
  directory = await mkdtemp(join(tmpdir(), 'kd-'));
  docker = await startDocker();
  await buildTestImages(docker.socketPath);
  hostile = await startHostileSite({
    // The daemon is another one after its crash.
    docker: {
      socketPath: docker.socketPath,
      get networkNamespace() {
        return docker.networkNamespace;
      },
    },
    env: {
      EXECUTOR_MAXIMUM_NUM_JOBS: '8',
      EXECUTOR_JOB_MEMORY: '64M',
      EXECUTOR_CLEANUP_TASK_INTERVAL: '10s',
    },
  });
});
afterAll(async () => {
  await hostile?.[Symbol.asyncDispose]();
  await docker?.stop();
  await rm(directory, { recursive: true, force: true });
});

test('executor, instance, database and Docker are killed while 50 jobs run: each job ends once, nothing stays', async () => {
  const run = 'echo begun; sleep 1; echo over';
  const ids: number[] = [];
  for (let number = 0; number < jobCount; number++)
    ids.push(await hostile.submit({ steps: [{ image, run }] }));

  await progress(ids, 3);
  hostile.executor.kill();
  await hostile.executor.exited;
  await hostile.startExecutor();

  await progress(ids, 10);
  await killPostgres(hostile.site.instance.dataDirectory);

  await progress(ids, 17);
  hostile.site.instance.process.kill();
  await hostile.site.instance.process.exited;
  await hostile.site.restartInstance();

  await progress(ids, 24);
  await killDocker();
  docker = await startDocker();

  await progress(ids, jobCount);
  const jobs = await Promise.all(ids.map((id) => hostile.show(id)));
  for (const job of jobs.filter(({ state }) => state !== 'completed'))
    await hostile.expectJob(job, {
      state: 'failed',
      failureMessage: expect.stringMatching(/Docker|the executor|lost/),
    });
  const completed = jobs.filter(({ state }) => state === 'completed');
  // Those that ran when Docker was killed may have lost their attempts; nobody else has.
  expect(completed.length).toBeGreaterThanOrEqual(jobCount - 16);
  for (const job of completed.slice(0, 10)) {
    const log =
      (await hostile.log(job.id))
        .toString()
        .split(/^\[attempt \d+\]$/m)
        .at(-1) ?? '';
    expect(log.match(/^stdout: over$/gm), log).toHaveLength(1);
  }
  expect(jobs.some(({ attempt }) => attempt > 1)).toBe(true);
  await hostile.run({ steps: [{ image, run: 'true' }] }, { state: 'completed' });
  await expect.poll(() => hostile.leftovers(), { timeout: 120_000 }).toEqual([]);
}, 900_000);

function startDocker(): Promise<Dockerd> {
  return startDockerd({ stateDirectory: join(directory, 'd'), log: () => undefined });
}

/** Its containerd ends a moment after it; until then no other daemon can start on the same state. */
async function killDocker(): Promise<void> {
  const containerd = await readFile(join(directory, 'd/exec/containerd/containerd.pid'), 'utf8');
  process.kill(docker.pid ?? 0, 'SIGKILL');
  await expect
    .poll(() => stat(`/proc/${containerd.trim()}`).catch(() => 'gone'), { timeout: 30_000 })
    .toBe('gone');
}

async function killPostgres(instanceDirectory: string): Promise<void> {
  const file = await readFile(join(instanceDirectory, 'postgres/data/postmaster.pid'), 'utf8');
  process.kill(Number(file.split('\n')[0]), 'SIGKILL');
}

/** Resolves when so many of the jobs have ended, whatever happens to the instance meanwhile. */
async function progress(ids: readonly number[], count: number): Promise<void> {
  await expect
    .poll(
      async () => {
        const jobs = await Promise.all(ids.map((id) => hostile.show(id).catch(() => undefined)));
        return jobs.filter((job): job is JobView => job !== undefined && hasEnded(job)).length;
      },
      { timeout: 400_000, interval: 500 },
    )
    .toBeGreaterThanOrEqual(count);
}
