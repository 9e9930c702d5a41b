import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobDocument } from '@kiln/protocol';
import { expect, test } from 'vitest';
import { createHostRuntime } from '../../../test/kit/host-runtime.ts';
import { startTestExecutor } from '../../../test/kit/in-process-executor.ts';
import { type PlainJob, startPlainInstance } from '../../../test/kit/plain-instance.ts';
import { plainStep as step, until } from '../../../test/kit/plain-jobs.ts';
import { createTestRepository } from '../../../test/kit/repository.ts';

function entry(job: PlainJob, key: string) {
  const found = job.logs.find((candidate) => candidate.key === key);
  if (found === undefined)
    throw new Error(`no entry ${key} among ${job.logs.map((item) => item.key).join(', ')}`);
  return found;
}

test('a job with a repository, files and two steps completes, with the keys and texts of the reference', async () => {
  await using repository = await createTestRepository();
  const commit = await repository.commit({ 'README.md': 'hello\n', 'lib/a.txt': 'a' });
  const name = 'github.com/acme/widgets';
  await using instance = await startPlainInstance({
    basePath: '/sub',
    repositories: { [name]: repository.directory },
    files: { 'batch-changes/spec1/file1': Buffer.from('fetched') },
  });
  const runtime = createHostRuntime();
  await using executor = await startTestExecutor({ ...instance, runtime });
  const job = instance.enqueue({
    repositoryName: name,
    repositoryDirectory: 'repository',
    commit,
    shallowClone: true,
    files: {
      'input.json': { content: Buffer.from('{"a":1}') },
      'deep/er/file': { bucket: 'batch-changes', key: 'spec1/file1', modifiedAt: '2022-10-07T18:55:45Z' },
    },
    dockerSteps: [
      step(['cat README.md', 'pwd'], { key: 'read', dir: 'repository' }),
      step([
        'cat input.json deep/er/file',
        'echo',
        'stat -c %Y deep/er/file',
        'printf partial',
        'echo err >&2',
      ]),
    ],
  });
  await instance.ended(job);
  expect(job.failureMessage).toBeUndefined();
  expect(job.state).toBe('completed');
  expect(job.logs.map((item) => item.key)).toEqual([
    'setup.git.init',
    'setup.git.add-remote',
    'setup.git.disable-gc',
    'setup.git.fetch',
    'setup.git.checkout',
    'setup.git.set-remote',
    'setup.fs.extras',
    'step.docker.read',
    'step.docker.1',
    'teardown.host.remove',
    'teardown.fs',
  ]);
  expect(entry(job, 'step.docker.read').out).toContain('stdout: hello\n');
  expect(entry(job, 'step.docker.read').out).toContain('stderr: + cat README.md\n');
  const last = entry(job, 'step.docker.1');
  // The two streams are read independently: order holds within each.
  const stdout = last.out?.split('\n').filter((line) => line.startsWith('stdout: '));
  expect(stdout).toEqual(['stdout: {"a":1}fetched', 'stdout: 1665168945', 'stdout: partial']);
  expect(last.out).toContain('stderr: err\n');
  expect(last.exitCode).toBe(0);
  expect(entry(job, 'setup.git.fetch').command?.slice(3)).toEqual([
    '-c',
    'protocol.version=2',
    'fetch',
    '--progress',
    '--no-recurse-submodules',
    '--no-tags',
    '--depth=1',
    'origin',
    commit,
  ]);
  expect(runtime.open).toBe(0);
  expect(await readdir(join(executor.directory, 'tmp', `kiln-executor-${process.getuid?.()}`))).toEqual([]);
});

test('nothing of the extensions reaches a plain instance but their announcement', async () => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor(instance);
  await instance.ended(instance.enqueue({ dockerSteps: [step(['true'])] }));
  const routes = new Set(instance.requests.map(({ path }) => path.split('/').at(-1)));
  const plain = ['addExecutionLogEntry', 'dequeue', 'heartbeat', 'markComplete', 'updateExecutionLogEntry'];
  expect(plain).toEqual(expect.arrayContaining([...routes]));
  for (const { body, headers } of instance.requests) {
    const extended = ['waitSeconds', 'attempt', 'attempts', 'usage', 'slots', 'isolation'];
    expect(Object.keys(body ?? {}).filter((key) => extended.includes(key))).toEqual([]);
    expect(headers['content-encoding']).toBeUndefined();
  }
  const beat = instance.requests.find(
    ({ body }) => body?.['gitVersion'] !== undefined && body['gitVersion'] !== '',
  );
  expect(beat?.body).toMatchObject({ version: 'V2', jobIds: null, os: 'linux', executorVersion: '6.10.0' });
});

test('heartbeats carry what the executor counts', async () => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor(instance);
  await instance.ended(instance.enqueue({ dockerSteps: [step(['true'])] }));
  const carried = () =>
    String(
      instance.requests.findLast(({ path }) => path.endsWith('/heartbeat'))?.body?.['prometheusMetrics'],
    );
  await until(() => carried().includes('src_executor_processor_total{queue="batches",op="handle"} 1\n'));
  for (const sample of [
    'src_apiworker_command_total{op="exec"} 1\n',
    'src_apiworker_command_total{op="setup.fs.extras"} 1\n',
    'src_apiworker_apiclient_queue_total{op="MarkComplete"} 1\n',
    'src_executor_vms_total 0\n',
  ])
    expect(carried()).toContain(sample);
});

const outcomes: { name: string; job: Partial<JobDocument>; state: string; message: string | RegExp }[] = [
  {
    name: 'a step that fails',
    job: { dockerSteps: [step(['exit 3'], { key: 'bad' }), step(['true'])] },
    state: 'failed',
    message: 'running command "step.docker.bad": command failed with exit code 3',
  },
  {
    name: 'an image that does not exist',
    job: { dockerSteps: [step(['true'], { image: 'missing' })] },
    state: 'failed',
    message: 'running command "step.docker.0": there is no image "missing"',
  },
  {
    name: 'a runtime that is broken',
    job: { dockerSteps: [step(['true'], { image: 'broken-runtime' })] },
    state: 'failed',
    message: 'running command "step.docker.0": the daemon is gone',
  },
  {
    name: 'a file that would leave the workspace',
    job: { files: { '../evil': { content: Buffer.from('x') } }, dockerSteps: [step(['true'])] },
    state: 'failed',
    message: /^creating workspace: the path "\.\.\/evil" has "\.\." in it/,
  },
  {
    name: 'src steps',
    job: { cliSteps: [{ key: '', command: ['version'], dir: '', env: [] }] },
    state: 'failed',
    message: /^creating workspace: the job has steps that run `src` on the executor itself/,
  },
  {
    name: 'a repository that the instance does not have',
    job: { repositoryName: 'nowhere', commit: 'abc', dockerSteps: [step(['true'])] },
    state: 'failed',
    message: /^creating workspace: setup\.git\.fetch: command failed with exit code 128: fatal: .*not found/,
  },
  {
    name: 'secrets in a failure message',
    job: {
      dockerSteps: [step(['true'], { dir: '../hunter2hunter2' })],
      redactedValues: { hunter2hunter2: '[secrets.PASS]' },
    },
    state: 'failed',
    message:
      'running command "step.docker.0": the path "../[secrets.PASS]" has ".." in it; it must stay below the workspace',
  },
];

test.each(outcomes)('$name ends the job with a message for people', async ({ job, state, message }) => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor(instance);
  const ended = await instance.ended(instance.enqueue(job));
  expect(ended.state).toBe(state);
  if (typeof message === 'string') expect(ended.failureMessage).toBe(message);
  else expect(ended.failureMessage).toMatch(message);
});
