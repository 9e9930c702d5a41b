import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { startPlainExecutor } from '../kit/plain-executor.ts';
import { startPlainInstance } from '../kit/plain-instance.ts';
import { outputOf, plainStep, until } from '../kit/plain-jobs.ts';
import { dockerLeftovers, gate, type HostileSite, hasEnded, startHostileSite } from './site.ts';

const { busybox: image } = testImages;
/** How long the instance is away; `KILN_TEST_OUTAGE_SECONDS=600` asks for the ten minutes that executors must bear. */
const outageSeconds = Number(process.env['KILN_TEST_OUTAGE_SECONDS'] ?? '2');
const testMilliseconds = 300_000 + outageSeconds * 1000;
const takingOver = /taking over what a dead executor left/;
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

it(
  'jobs that end while the instance is away are told to it when it is back, with their whole logs',
  async () => {
    const ids = await waitingJobs([0, 0, 3, 4]);
    await killInstance();
    await hostile.openGates();
    await expect.poll(() => dockerLeftovers(dockerd), { timeout: 120_000 }).toEqual([]);
    await sleep(outageSeconds * 1000);
    await hostile.site.restartInstance();
    await expectOutcomes(ids, ['completed', 'completed', 'failed', 'failed']);
    expect((await hostile.show(ids[2] ?? 0)).failureMessage).toContain('exit code 3');
    for (const id of ids) {
      const log = (await hostile.log(id)).toString();
      expect(log.match(/^stdout: (begun|over)$/gm)).toEqual(['stdout: begun', 'stdout: over']);
    }
    await expect.poll(() => hostile.leftovers(), { timeout: 120_000 }).toEqual([]);
  },
  testMilliseconds,
);

it(
  'outcomes of an executor that was killed while the instance was away are told by its successor, which started meanwhile',
  async () => {
    const ids = await waitingJobs([0, 3]);
    await killInstance();
    await hostile.openGates();
    await expect.poll(storedOutcomes, { timeout: 60_000 }).toHaveLength(ids.length);
    hostile.executor.kill();
    await hostile.executor.exited;
    await hostile.startExecutor({}, { readyLine: takingOver });
    await sleep(outageSeconds * 1000);
    await hostile.site.restartInstance();
    await expectOutcomes(ids, ['completed', 'failed']);
    expect((await hostile.show(ids[1] ?? 0)).failureMessage).toContain('exit code 3');
    await expect.poll(() => hostile.leftovers(), { timeout: 120_000 }).toEqual([]);
    // It works on by itself.
    await hostile.run({ steps: [{ image, run: 'true' }] }, { state: 'completed', attempt: 1 });
  },
  testMilliseconds,
);

it('a cancel reaches a sleeping step', async () => {
  const id = await hostile.submit({ steps: [{ image, run: 'echo begun; sleep 600' }] });
  await begun(id);
  const askedAt = performance.now();
  await hostile.site.kilnJson(['job', 'cancel', String(id)]);
  await expect.poll(() => dockerLeftovers(dockerd), { timeout: 60_000, interval: 20 }).toEqual([]);
  // One second on an idle machine (`npm run bench cancel`), the start of the command line program, and other tests beside it.
  expect(performance.now() - askedAt).toBeLessThan(30_000);
  await hostile.expectJob(await hostile.when(id, hasEnded), { state: 'canceled' });
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
    const job = instance.enqueue({ dockerSteps: [plainStep(['echo begun', 'sleep 600'], { image })] });
    await until(() => outputOf(job).includes('stdout: begun'));
    const askedAt = performance.now();
    instance.cancel(job);
    await expect.poll(() => dockerLeftovers(dockerd), { timeout: 60_000, interval: 20 }).toEqual([]);
    // Five seconds between heartbeats and one for the kill, on an idle machine.
    expect(performance.now() - askedAt).toBeLessThan(30_000);
    await instance.ended(job);
    expect(job.state).toBe('canceled');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

/** Jobs that have begun and wait at the gate, to end with the codes given. */
async function waitingJobs(exitCodes: readonly number[]): Promise<number[]> {
  const ids = await Promise.all(
    exitCodes.map((code) =>
      hostile.submit({ steps: [{ image, run: `echo begun; ${gate}; echo over; exit ${code}` }] }),
    ),
  );
  for (const id of ids) await begun(id);
  return ids;
}

async function begun(id: number): Promise<void> {
  await expect
    .poll(async () => (await hostile.log(id)).includes('stdout: begun'), { timeout: 120_000 })
    .toBe(true);
}

async function killInstance(): Promise<void> {
  hostile.site.instance.process.kill();
  await hostile.site.instance.process.exited;
}

/** Names of the files in which executors keep what the instance has not been told. */
async function storedOutcomes(): Promise<string[]> {
  const names = await readdir(join(hostile.site.directory, 'executors/executors'), { recursive: true });
  return names.filter((name) => /\/outcomes\/[^/]+\.json$/.test(name));
}

/** Nothing was run twice, and nothing was lost. */
async function expectOutcomes(ids: readonly number[], states: readonly string[]): Promise<void> {
  for (const [index, id] of ids.entries())
    await hostile.expectJob(await hostile.when(id, hasEnded), { state: states[index], attempt: 1 });
}
