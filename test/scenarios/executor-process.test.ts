import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunningProcess } from '../../tools/process/running-process.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { startPlainExecutor } from '../kit/plain-executor.ts';
import { type PlainInstance, type PlainJob, startPlainInstance } from '../kit/plain-instance.ts';
import { outputOf, plainStep, until } from '../kit/plain-jobs.ts';

/** `bin/executor run` with real containers, for an instance that knows only the reference's protocol. */

const run = promisify(execFile);
let dockerd: Awaited<ReturnType<typeof startTestDockerd>>;
let instance: PlainInstance;
let directory: string;
let starts = 0;

beforeAll(async () => {
  dockerd = await startTestDockerd();
  instance = await startPlainInstance({ stalledSeconds: 600 });
  directory = await mkdtemp(join(tmpdir(), 'kx-'));
});
afterAll(async () => {
  await instance[Symbol.asyncDispose]();
  await dockerd.stop();
  await rm(directory, { recursive: true, force: true });
});

function startExecutor(): Promise<RunningProcess> {
  const logName = `executor-${++starts}.log`;
  return startPlainExecutor({ instance, dockerSocket: dockerd.socketPath, directory, logName });
}

function enqueue(commands: string[], env: string[] = []): PlainJob {
  return instance.enqueue({ dockerSteps: [plainStep(commands, { image: testImages.busybox, env })] });
}

async function runningJob(): Promise<PlainJob> {
  const job = enqueue(['echo begun', 'sleep 300']);
  await until(() => outputOf(job).includes('stdout: begun'));
  return job;
}

async function containers(): Promise<unknown[]> {
  const dispatcher = new Agent({ connect: { socketPath: dockerd.socketPath } });
  const { body } = await request('http://docker/containers/json?all=1', { dispatcher });
  const list = (await body.json()) as unknown[];
  await dispatcher.close();
  return list;
}

/** Names of what is left of executors: workspaces, state directories, Docker records. */
async function leftovers(): Promise<string[]> {
  const folders = ['tmp/kiln-executor-0', 'data/executors', 'data/docker'];
  const names = await Promise.all(folders.map((folder) => readdir(join(directory, folder)).catch(() => [])));
  return names.flat();
}

test('a job in a container; the first signal finishes it, and nothing is left', async () => {
  const executor = await startExecutor();
  const secret = 'correct horse battery staple';
  const job = enqueue(['echo begun', 'sleep 5', 'echo "PASS=$PASS"', 'exit 4'], [`PASS=${secret}`]);
  job.document.redactedValues = { [secret]: '{{PASS}}' };
  await until(() => outputOf(job).includes('stdout: begun'));
  const { stdout: processes } = await run('ps', ['-eo', 'args'], { maxBuffer: 2 ** 24 });
  process.kill(executor.pid, 'SIGTERM');
  expect(await executor.exited).toMatchObject({ code: 0 });
  expect(job.state).toBe('failed');
  expect(job.failureMessage).toBe('running command "step.docker.0": command failed with exit code 4');
  expect(outputOf(job)).toContain('stdout: PASS={{PASS}}\n');
  for (const text of [processes, JSON.stringify(job.logs), await readFile(executor.logFile, 'utf8')]) {
    expect(text).not.toContain(secret);
    expect(text).not.toContain(instance.sharedSecret);
  }
  expect(await leftovers()).toEqual([]);
  expect(await containers()).toEqual([]);
});

test('the second signal ends at once with code 0, and nothing is left', async () => {
  const executor = await startExecutor();
  const job = await runningJob();
  process.kill(executor.pid, 'SIGINT');
  await executor.waitForLine(/^SIGINT: taking no more jobs/, 30);
  process.kill(executor.pid, 'SIGTERM');
  const askedAt = performance.now();
  expect(await executor.exited).toMatchObject({ code: 0 });
  expect(performance.now() - askedAt).toBeLessThan(40_000);
  expect(job.state).toBe('processing');
  expect(await leftovers()).toEqual([]);
  expect(await containers()).toEqual([]);
});

test('what a killed executor leaves behind is cleaned up by the next one', async () => {
  const first = await startExecutor();
  await runningJob();
  first.kill();
  await first.exited;
  expect(await containers()).not.toEqual([]);
  expect(await leftovers()).not.toEqual([]);
  const second = await startExecutor();
  // Before the first job; what Docker could not remove at once goes with the next round.
  await expect.poll(containers, { timeout: 120_000 }).toEqual([]);
  expect(await readdir(join(directory, 'tmp/kiln-executor-0'))).toEqual([]);
  const job = enqueue(['true']);
  await instance.ended(job);
  expect(job.state).toBe('completed');
  await second.stop();
  // The dead one's record stays for a while: Docker may still make what it asked for last.
  expect((await leftovers()).filter((name) => !/^[0-9a-f]{12}\.json$/.test(name))).toEqual([]);
});
