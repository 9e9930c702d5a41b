import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  checkout,
  type InstanceProcess,
  programEnvironment,
  startInstanceProcess,
} from '../../tools/process/programs.ts';
import { runCommand } from '../../tools/process/run-command.ts';
import { createHostRuntime } from '../kit/host-runtime.ts';
import { startTestExecutor, type TestExecutorOptions } from '../kit/in-process-executor.ts';

/** The executor's side of the protocol's extensions, against a real instance; steps run on the test-only host runtime. */

interface JobView {
  id: number;
  state: string;
  attempt: number;
  failureMessage: string | null;
  usage: unknown[];
  logEntries: { entry: number; key: string; exitCode: number | null }[];
}

let directory: string;
let instance: InstanceProcess;
let sharedSecret: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-extensions-'));
  instance = await start('first');
  const token = (await api('GET', '/.api/site-config/executor-token')) as { accessToken: string };
  sharedSecret = token.accessToken;
});
afterAll(async () => {
  await instance[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

function start(name: string, listen?: string): Promise<InstanceProcess> {
  return startInstanceProcess({
    dataDirectory: join(directory, 'instance'),
    logFile: join(directory, `${name}.log`),
    ...(listen === undefined ? {} : { listen }),
  });
}

async function api(method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(`${instance.url}${path}`, {
    method,
    headers: {
      authorization: `token ${instance.adminToken}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(20_000),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

function executor(more: Pick<TestExecutorOptions, 'env' | 'runtime'> = {}) {
  return startTestExecutor({
    url: new URL(instance.url),
    sharedSecret,
    ...more,
    env: { EXECUTOR_QUEUE_NAME: 'jobs', ...more.env },
  });
}

async function submit(run: string, image = 'any'): Promise<number> {
  const job = (await api('POST', '/.api/jobs', { steps: [{ image, run }] })) as JobView;
  return job.id;
}

async function jobWhen(id: number, condition: (job: JobView) => boolean): Promise<JobView> {
  const giveUpAt = performance.now() + 120_000;
  for (;;) {
    const job = (await api('GET', `/.api/jobs/${id}`)) as JobView;
    if (condition(job)) return job;
    if (performance.now() > giveUpAt) throw new Error(`job ${id} is still ${JSON.stringify(job)}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

async function output(job: JobView, key: string): Promise<Buffer> {
  const entry = job.logEntries.find((candidate) => candidate.key === key);
  if (entry === undefined) return Buffer.alloc(0);
  const response = await fetch(`${instance.url}/.api/jobs/${job.id}/logEntries/${entry.entry}/output`, {
    headers: { authorization: `token ${instance.adminToken}` },
    signal: AbortSignal.timeout(20_000),
  });
  return Buffer.from(await response.arrayBuffer());
}

async function sayingBegun(id: number): Promise<void> {
  const giveUpAt = performance.now() + 120_000;
  for (;;) {
    const job = await jobWhen(id, ({ state }) => state === 'processing');
    if ((await output(job, 'step.docker.0')).includes('stdout: begun')) return;
    if (performance.now() > giveUpAt) throw new Error(`job ${id} does not begin`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const ended = ({ state }: JobView) => ['completed', 'failed', 'canceled'].includes(state);

test('binary output arrives byte for byte, untraced, with usage', async () => {
  await using _executor = await executor();
  const id = await submit(
    "printf 'a\\377\\376b\\n'; echo err >&2; head -c 3000000 /dev/zero | tr '\\0' x | fold -w 99",
  );
  const job = await jobWhen(id, ended);
  expect(job).toMatchObject({ state: 'completed', failureMessage: null, usage: [{ key: 'step.docker.0' }] });
  const bytes = await output(job, 'step.docker.0');
  expect(bytes.includes(Buffer.from([...Buffer.from('stdout: a'), 0xff, 0xfe, ...Buffer.from('b\n')]))).toBe(
    true,
  );
  expect(bytes.toString('latin1')).not.toContain('stderr: +');
  const lines = bytes.toString('latin1').split('\n');
  expect(lines.filter((line) => line === `stdout: ${'x'.repeat(99)}`)).toHaveLength(30_303);
});

test('validate asks a real instance for the queues, and tries to clone from it', async () => {
  const { output } = await runCommand(join(checkout, 'bin/executor'), ['validate', '--json'], {
    cwd: directory,
    env: programEnvironment({
      EXECUTOR_FRONTEND_URL: instance.url,
      EXECUTOR_FRONTEND_PASSWORD: sharedSecret,
      EXECUTOR_QUEUE_NAMES: 'jobs,batches',
      EXECUTOR_USE_FIRECRACKER: 'false',
      EXECUTOR_DATA_DIR: join(directory, 'data'),
    }),
    signal: AbortSignal.timeout(60_000),
  });
  const { checks } = JSON.parse(output.slice(output.indexOf('{'))) as { checks: { name: string }[] };
  expect(checks.find(({ name }) => name === 'queues')).toMatchObject({
    state: 'ok',
    message: 'the instance has jobs, batches',
  });
  expect(checks.find(({ name }) => name === 'clone')).toMatchObject({ state: 'ok' });
  expect(checks.find(({ name }) => name === 'egress')).toMatchObject({ state: 'ok' });
  const executors = (await api('GET', '/.api/executors')) as { executors: { hostname: string }[] };
  expect(JSON.stringify(executors)).not.toContain('validate');
});

test('the first failing line fails the step', async () => {
  await using _executor = await executor();
  const job = await jobWhen(await submit('false\necho never'), ended);
  expect(job.failureMessage).toBe('running command "step.docker.0": command failed with exit code 1');
});

test('a cancel reaches a sleeping step without waiting for the next interval', async () => {
  const runtime = createHostRuntime();
  await using _executor = await executor({ runtime });
  const id = await submit('echo begun; sleep 300');
  await sayingBegun(id);
  const askedAt = performance.now();
  await api('POST', `/.api/jobs/${id}/cancel`);
  const job = await jobWhen(id, ended);
  expect(job.state).toBe('canceled');
  // The step dies within 1 s on an idle machine; teardown, log and mark are in this figure, and other tests beside it.
  expect(performance.now() - askedAt).toBeLessThan(15_000);
  expect(runtime.open).toBe(0);
});

test('an executor that is shut down gives its job back, and another one runs it at once', async () => {
  const first = await executor();
  // The host runtime sees all of this machine.
  const mark = join(directory, 'has-run');
  const id = await submit(`test -e ${mark} && exit 0; touch ${mark}; echo begun; sleep 300`);
  await sayingBegun(id);
  await first[Symbol.asyncDispose]();
  const back = await jobWhen(id, ({ state }) => state !== 'processing');
  expect(back).toMatchObject({ state: 'queued', attempt: 1 });
  await using _second = await executor();
  const job = await jobWhen(id, ended);
  expect(job).toMatchObject({ state: 'completed', attempt: 2 });
});

test('a runtime that breaks before a step gives the job back at the cost of an attempt; while one runs, it fails the job', async () => {
  await using running = await executor();
  const before = await submit('true', 'broken-runtime');
  const during = await submit('true', 'breaking-runtime');
  // Between two tries this executor looks at its runtime.
  expect(await jobWhen(before, ended)).toMatchObject({ state: 'failed', attempt: 4 });
  expect(await jobWhen(during, ended)).toMatchObject({
    state: 'failed',
    attempt: 1,
    failureMessage: 'running command "step.docker.0": the daemon went away',
  });
  expect(
    running.log.filter((line) => /job ended.*"end":"release"|"end":"release".*job ended/.test(line)),
  ).toHaveLength(4);
});

test('a job goes on through a killed instance and ends once, with its whole log', async () => {
  await using _executor = await executor();
  const id = await submit('echo begun; for i in 1 2 3 4 5 6 7 8; do echo "tick $i"; sleep 0.5; done');
  await sayingBegun(id);
  const { host } = new URL(instance.url);
  instance.process.kill();
  await instance[Symbol.asyncDispose]();
  instance = await start('second', host);
  const job = await jobWhen(id, ended);
  expect(job).toMatchObject({ state: 'completed', attempt: 1 });
  const ticks = (await output(job, 'step.docker.0')).toString().match(/^stdout: tick \d$/gm);
  expect(ticks).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((number) => `stdout: tick ${number}`));
});

test('a drained executor takes nothing and goes on when it is resumed', async () => {
  await using running = await executor();
  await jobWhen(await submit('true'), ended);
  await api('POST', `/.api/executors/${running.name}/drain`);
  await expect
    .poll(() => running.log.some((line) => line.includes('"drain":true')), { timeout: 20_000 })
    .toBe(true);
  const id = await submit('true');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await jobWhen(id, () => true)).toMatchObject({ state: 'queued' });
  await api('POST', `/.api/executors/${running.name}/resume`);
  expect((await jobWhen(id, ended)).state).toBe('completed');
});
