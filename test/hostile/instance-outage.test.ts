import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { startPlainInstance } from '../kit/plain-instance.ts';
import { startPlainExecutor } from './plain-executor.ts';
import { dockerLeftovers, type HostileSite, hasEnded, startHostileSite } from './site.ts';

const { busybox: image } = testImages;
let dockerd: Awaited<ReturnType<typeof startTestDockerd>>;
let hostile: HostileSite;

beforeAll(async () => {
  dockerd = await startTestDockerd();
  hostile = await startHostileSite({ docker: dockerd, env: { EXECUTOR_MAXIMUM_NUM_JOBS: '4' } });
});
afterAll(async () => {
  await hostile?.[Symbol.asyncDispose]();
  await dockerd?.stop();
});

it('jobs that end while the instance is away are told to it when it is back, with their whole logs', async () => {
  const steps = (code: number) => [{ image, run: `echo begun; sleep 3; echo over; exit ${code}` }];
  const ids = await Promise.all([0, 0, 3, 4].map((code) => hostile.submit({ steps: steps(code) })));
  for (const id of ids) await begun(id);
  hostile.site.instance.process.kill();
  await hostile.site.instance.process.exited;
  await expect.poll(() => dockerLeftovers(dockerd), { timeout: 60_000 }).toEqual([]);
  await hostile.site.restartInstance();
  const jobs = await Promise.all(ids.map((id) => hostile.when(id, hasEnded)));
  expect(jobs.map(({ state, attempt }) => [state, attempt])).toEqual([
    ['completed', 1],
    ['completed', 1],
    ['failed', 1],
    ['failed', 1],
  ]);
  expect(jobs[2]?.failureMessage).toContain('exit code 3');
  for (const id of ids) {
    const log = (await hostile.log(id)).toString();
    expect(log.match(/^stdout: (begun|over)$/gm)).toEqual(['stdout: begun', 'stdout: over']);
  }
  await expect.poll(() => hostile.leftovers(), { timeout: 30_000 }).toEqual([]);
});

it('a cancel reaches a sleeping step', async () => {
  const id = await hostile.submit({ steps: [{ image, run: 'echo begun; sleep 600' }] });
  await begun(id);
  const askedAt = performance.now();
  await hostile.site.kilnJson(['job', 'cancel', String(id)]);
  await expect.poll(() => dockerLeftovers(dockerd), { timeout: 30_000, interval: 20 }).toEqual([]);
  // One second on an idle machine, and the start of the command line program; other tests may run beside it.
  expect(performance.now() - askedAt).toBeLessThan(12_000);
  expect(await hostile.when(id, hasEnded)).toMatchObject({ state: 'canceled' });
});

it('a cancel by an instance without extensions reaches it with the next heartbeat', async () => {
  await using instance = await startPlainInstance({ queues: ['batches'] });
  const directory = await mkdtemp(join(tmpdir(), 'kh-'));
  try {
    await using _executor = await startPlainExecutor({
      instance,
      dockerSocket: dockerd.socketPath,
      directory,
    });
    const step = { key: '', image, commands: ['echo begun', 'sleep 600'], dir: '', env: [] };
    const job = instance.enqueue({ dockerSteps: [step] });
    await expect
      .poll(() => job.logs.some(({ out }) => out?.includes('stdout: begun')), { timeout: 60_000 })
      .toBe(true);
    const askedAt = performance.now();
    instance.cancel(job);
    await expect.poll(() => dockerLeftovers(dockerd), { timeout: 30_000, interval: 20 }).toEqual([]);
    // Five seconds between heartbeats and one for the kill, on an idle machine.
    expect(performance.now() - askedAt).toBeLessThan(20_000);
    await instance.ended(job);
    expect(job.state).toBe('canceled');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

async function begun(id: number): Promise<void> {
  await expect
    .poll(async () => (await hostile.log(id)).includes('stdout: begun'), { timeout: 60_000 })
    .toBe(true);
}
