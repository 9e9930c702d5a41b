import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createHostRuntime } from '../../../test/kit/host-runtime.ts';
import { startTestExecutor, type TestExecutor } from '../../../test/kit/in-process-executor.ts';
import { type PlainInstance, type PlainJob, startPlainInstance } from '../../../test/kit/plain-instance.ts';
import { outputOf, plainStep as step, until } from '../../../test/kit/plain-jobs.ts';

/** A job whose only step has said `begun` and now sleeps. */
async function sleepingJob(instance: PlainInstance): Promise<PlainJob> {
  const job = instance.enqueue({ dockerSteps: [step(['echo begun', 'sleep 300'])] });
  await until(() => outputOf(job).includes('stdout: begun'));
  return job;
}

test('a canceled job is torn down, its log completed, and marked', async () => {
  await using instance = await startPlainInstance();
  const runtime = createHostRuntime();
  await using _executor = await startTestExecutor({ ...instance, runtime });
  const job = await sleepingJob(instance);
  const canceledAt = performance.now();
  instance.cancel(job);
  await instance.ended(job);
  // Five seconds between heartbeats, on an idle machine.
  expect(performance.now() - canceledAt).toBeLessThan(20_000);
  expect(job.state).toBe('canceled');
  expect(job.failureMessage).toBe('running command "step.docker.0": canceled');
  expect(job.logs.find(({ key }) => key === 'step.docker.0')?.exitCode).toBe(-1);
  expect(job.logs.map(({ key }) => key).slice(-2)).toEqual(['teardown.host.remove', 'teardown.fs']);
  expect(runtime.open).toBe(0);
});

test('a job that the instance gave to another executor is dropped without a word', async () => {
  await using instance = await startPlainInstance();
  const runtime = createHostRuntime();
  await using executor = await startTestExecutor({ ...instance, runtime });
  const job = await sleepingJob(instance);
  instance.lose(job);
  await until(() => runtime.open === 0 && executor.log.some((line) => line.includes('"end":"lost"')));
  expect(instance.requests.filter(({ path }) => path.includes('/mark'))).toEqual([]);
  expect(await readdir(join(executor.directory, 'tmp', `kiln-executor-${process.getuid?.()}`))).toEqual([]);
});

test('a job past its time is errored with the limit and what it was doing', async () => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor({
    ...instance,
    env: { EXECUTOR_MAXIMUM_RUNTIME_PER_JOB: '5s' },
  });
  const job = instance.enqueue({ dockerSteps: [step(['echo begun', 'sleep 300'], { key: 'long' })] });
  await instance.ended(job);
  expect(job.failureMessage).toBe(
    'job exceeded maximum execution time of 5s: running command "step.docker.long"',
  );
  expect(outputOf(job, 'step.docker.long')).toContain('stdout: begun\n');
});

test('a pre step may skip steps, or all that follow', async () => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor(instance);
  const skipTo = (key: string) => step([`echo '{"nextStep":"${key}"}' > skip.json`], { key: 'step.0.pre' });
  const others = [
    step(['exit 1'], { key: 'step.0.run' }),
    step(['ls'], { key: 'step.1.pre' }),
    step(['echo ran'], { key: 'step.1.run' }),
  ];
  const some = instance.enqueue({ dockerSteps: [skipTo('step.1.pre'), ...others] });
  const all = instance.enqueue({ dockerSteps: [skipTo('step.9.pre'), ...others] });
  const invalid = instance.enqueue({ dockerSteps: [step(['echo nonsense > skip.json'], { key: 'x.pre' })] });
  await Promise.all([some, all, invalid].map((job) => instance.ended(job)));
  const steps = (job: PlainJob) => job.logs.map(({ key }) => key).filter((key) => key.startsWith('step.'));
  expect(some.state).toBe('completed');
  expect(steps(some)).toEqual(['step.docker.step.0.pre', 'step.docker.step.1.pre', 'step.docker.step.1.run']);
  expect(outputOf(some, 'step.docker.step.1.pre')).not.toContain('skip.json');
  expect(all.state).toBe('completed');
  expect(steps(all)).toEqual(['step.docker.step.0.pre']);
  expect(invalid.failureMessage).toBe(
    'running command "step.docker.x.pre": skip.json is not of the form {"nextStep": "step.<n>.pre"}',
  );
});

/** A step that ends when the test opens the gate: whatever the machine's speed, the test decides what comes first. */
async function withGate(
  use: (gate: { commands: string[]; open(): Promise<void> }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'kiln-test-gate-'));
  const file = join(directory, 'open');
  try {
    await use({
      commands: ['echo begun', `while [ ! -e ${file} ]; do sleep 0.1; done`],
      open: () => writeFile(file, ''),
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Outcomes that an executor has stored and not delivered. */
async function storedOutcomes(executor: TestExecutor): Promise<string[]> {
  const outcomes = join(executor.directory, 'data', 'executors', executor.name, 'outcomes');
  // Others are being written.
  const names = (await readdir(outcomes)).filter((name) => name.endsWith('.json'));
  return names.map((name) => join(outcomes, name));
}

test('jobs that end while the instance is away are all told to it when it is back', () =>
  withGate(async (gate) => {
    await using instance = await startPlainInstance({ stalledSeconds: 600 });
    await using executor = await startTestExecutor({
      ...instance,
      env: { EXECUTOR_MAXIMUM_NUM_JOBS: '3' },
    });
    const jobs = [1, 2, 3].map((number) =>
      instance.enqueue({
        dockerSteps: [step([...gate.commands, `echo end ${number}`, `exit ${number - 1}`])],
      }),
    );
    await until(() => jobs.every((job) => outputOf(job).includes('stdout: begun')));
    await instance.goAway();
    await gate.open();
    await until(async () => (await storedOutcomes(executor)).length === 3);
    expect(jobs.map(({ state }) => state)).toEqual(['processing', 'processing', 'processing']);
    await instance.comeBack();
    await Promise.all(jobs.map((job) => instance.ended(job)));
    expect(jobs.map(({ state, resets }) => [state, resets])).toEqual([
      ['completed', 0],
      ['failed', 0],
      ['failed', 0],
    ]);
    expect(jobs.map((job) => outputOf(job).includes('stdout: end'))).toEqual([true, true, true]);
  }));

test('an outcome outlives its executor: the next one delivers it under the old name', () =>
  withGate(async (gate) => {
    await using instance = await startPlainInstance({ stalledSeconds: 600 });
    const directory = await mkdtemp(join(tmpdir(), 'kiln-test-successor-'));
    const first = await startTestExecutor({ ...instance, directory });
    const job = instance.enqueue({ dockerSteps: [step(gate.commands)] });
    await until(() => outputOf(job).includes('stdout: begun'));
    await instance.goAway();
    await gate.open();
    await until(async () => (await storedOutcomes(first)).length === 1);
    const [file = ''] = await storedOutcomes(first);
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ kind: 'markComplete' });
    // The process would be gone; inside one test process the owner's record has to be made to say so.
    await first[Symbol.asyncDispose]();
    await endOwner(join(directory, 'data', 'executors', first.name));
    await instance.comeBack();
    {
      await using second = await startTestExecutor({ ...instance, directory });
      await instance.ended(job);
      expect(job.state).toBe('completed');
      expect(job.executorName).toBe(first.name);
      expect(second.name).not.toBe(first.name);
    }
    await rm(directory, { recursive: true, force: true });
  }));

async function endOwner(directory: string): Promise<void> {
  const owner = JSON.parse(await readFile(join(directory, 'owner.json'), 'utf8')) as Record<string, unknown>;
  await writeFile(join(directory, 'owner.json'), JSON.stringify({ ...owner, startTicks: '1' }));
}

test('the first signal finishes what runs, a quota ends by itself', async () => {
  await using instance = await startPlainInstance();
  await using executor = await startTestExecutor({ ...instance, env: { EXECUTOR_NUM_TOTAL_JOBS: '2' } });
  const jobs = [1, 2, 3].map(() => instance.enqueue({ dockerSteps: [step(['sleep 0.3'])] }));
  const ended = await executor.executor.ended;
  expect(ended).toEqual({ because: 'took 2 jobs (EXECUTOR_NUM_TOTAL_JOBS)', connected: true });
  expect(jobs.map(({ state }) => state)).toEqual(['completed', 'completed', 'queued']);
  expect(await readdir(join(executor.directory, 'data', 'executors'))).toEqual([]);
});

test('a drained executor takes nothing more; a shut down one stops at once and reports nothing to a plain instance', async () => {
  await using instance = await startPlainInstance();
  const runtime = createHostRuntime();
  await using executor = await startTestExecutor({ ...instance, runtime });
  const job = await sleepingJob(instance);
  executor.executor.drain('asked to');
  const next = instance.enqueue({ dockerSteps: [step(['true'])] });
  executor.executor.shutDown();
  const startedAt = performance.now();
  await executor.executor.ended;
  expect(performance.now() - startedAt).toBeLessThan(15_000);
  expect(runtime.open).toBe(0);
  expect([job.state, next.state]).toEqual(['processing', 'queued']);
});

test('several queues: ids carry the queue, and a queue that the instance does not have is named', async () => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor({
    ...instance,
    env: { EXECUTOR_QUEUE_NAMES: 'codeintel,batches', EXECUTOR_MAXIMUM_NUM_JOBS: '2' },
  });
  const jobs = ['batches', 'codeintel'].map((queue) =>
    instance.enqueue({ dockerSteps: [step(['sleep 7'])] }, queue),
  );
  await Promise.all(jobs.map((job) => instance.ended(job)));
  expect(jobs.map(({ state, resets }) => [state, resets])).toEqual([
    ['completed', 0],
    ['completed', 0],
  ]);
  const beat = instance.requests.find(({ body }) => Array.isArray(body?.['jobIdsByQueue']));
  expect(beat?.path).toBe('/.executors/queue/heartbeat');
  expect(beat?.body).toMatchObject({
    version: '',
    queueNames: ['codeintel', 'batches'],
    jobIdsByQueue: [
      { queueName: 'batches', jobIds: ['1'] },
      { queueName: 'codeintel', jobIds: ['2'] },
    ],
  });
});

test('a queue that only Kiln has is named in the error when the instance refuses it', async () => {
  await using instance = await startPlainInstance();
  await using executor = await startTestExecutor({ ...instance, env: { EXECUTOR_QUEUE_NAME: 'jobs' } });
  await until(() => executor.log.some((line) => line.includes('the instance has no queue')));
  const line = executor.log.find((candidate) => candidate.includes('the instance has no queue'));
  expect(JSON.parse(line ?? '{}')).toMatchObject({
    level: 'error',
    cause: expect.stringContaining('has no queue "jobs"'),
  });
});

test('a wrong shared secret is told as such', async () => {
  await using instance = await startPlainInstance();
  await using executor = await startTestExecutor({ url: instance.url, sharedSecret: 'not-the-secret' });
  await until(() => executor.log.some((line) => line.includes('refused the shared secret (401)')));
  expect(executor.log.join('')).not.toContain('not-the-secret');
});

test('secrets are masked in output, commands, kept outcomes and the process log', async () => {
  await using instance = await startPlainInstance();
  await using executor = await startTestExecutor({
    ...instance,
    env: { EXECUTOR_ENABLE_JOB_AUDIT_LOGGING: 'true' },
  });
  const secret = 'correct horse battery';
  const job = instance.enqueue({
    dockerSteps: [
      step(
        [
          'echo "got $PASS"',
          'printf %s "$PASS" | base64',
          'printf "part: %.8s" "$PASS"; sleep 0.3; echo "$PASS" | cut -c9-',
        ],
        {
          env: [`PASS=${secret}`],
        },
      ),
    ],
    redactedValues: { [secret]: '{{PASS}}' },
  });
  await instance.ended(job);
  expect(job.state).toBe('completed');
  const shown = JSON.stringify(job.logs);
  expect(shown).toContain('stdout: got {{PASS}}\\n');
  expect(shown).toContain('PASS={{PASS}}');
  expect(shown).toContain('stdout: part: {{PASS}}\\n');
  for (const text of [shown, executor.log.join('')]) {
    expect(text).not.toContain(secret);
    expect(text).not.toContain(Buffer.from(secret).toString('base64').slice(0, 20));
    expect(text).not.toContain(instance.sharedSecret);
  }
});

test('output past the limit of the log is dropped with a mark, and the job goes on', async () => {
  await using instance = await startPlainInstance();
  await using _executor = await startTestExecutor({ ...instance, env: { EXECUTOR_JOB_LOG_LIMIT: '100K' } });
  const job = instance.enqueue({
    dockerSteps: [step(['head -c 3000000 /dev/zero | tr "\\0" "x" | fold -w 99', 'echo done'])],
  });
  await instance.ended(job);
  expect(job.state).toBe('completed');
  expect(outputOf(job).length).toBeLessThan(110_000);
  expect(outputOf(job)).toMatch(
    /\[kiln\] the log of this job is full: the rest of this output is not kept\n$/,
  );
});

test('a job that comes again while it still runs is begun anew, and only the new run reports', async () => {
  await using instance = await startPlainInstance();
  const runtime = createHostRuntime();
  await using executor = await startTestExecutor({
    ...instance,
    runtime,
    env: { EXECUTOR_MAXIMUM_NUM_JOBS: '2' },
  });
  const once = 'test -e "$MARK" && exit 0; touch "$MARK"; echo begun; sleep 300';
  const mark = join(executor.directory, 'mark');
  const job = instance.enqueue({ dockerSteps: [step([once], { env: [`MARK=${mark}`] })] });
  await until(() => outputOf(job).includes('stdout: begun'));
  job.state = 'queued';
  await instance.ended(job);
  expect(job.state).toBe('completed');
  expect(instance.requests.filter(({ path }) => path.includes('/mark'))).toHaveLength(1);
  await until(() => runtime.open === 0);
});

test('no job is taken while the disk has less than its reserve', async () => {
  await using instance = await startPlainInstance();
  await using executor = await startTestExecutor({ ...instance, env: { EXECUTOR_MIN_FREE_DISK: '7P' } });
  instance.enqueue({ dockerSteps: [step(['true'])] });
  await until(() => executor.log.some((line) => line.includes('free disk is below EXECUTOR_MIN_FREE_DISK')));
  expect(instance.requests.filter(({ path }) => path.endsWith('/dequeue'))).toEqual([]);
});

test('after its active time an executor finishes what runs and ends', async () => {
  await using instance = await startPlainInstance();
  const job = instance.enqueue({ dockerSteps: [step(['sleep 5'])] });
  await using executor = await startTestExecutor({ ...instance, env: { EXECUTOR_MAX_ACTIVE_TIME: '4s' } });
  const { because } = await executor.executor.ended;
  expect(because).toBe('worked for 4s (EXECUTOR_MAX_ACTIVE_TIME)');
  expect(job.state).toBe('completed');
});

test('src steps run on this machine where that is allowed, with their own environment and credentials', async () => {
  await using instance = await startPlainInstance();
  const bin = await mkdtemp(join(tmpdir(), 'kiln-test-bin-'));
  const script = `#!/bin/sh
echo "$@" in "$(basename "$PWD")" with "$FOO"
stat -c %a "$DOCKER_CONFIG/config.json"
cat "$DOCKER_CONFIG/config.json"
echo "$DOCKER_CONFIG" >${join(bin, 'docker-config')}
`;
  await writeFile(join(bin, 'src'), script, { mode: 0o755 });
  await using _executor = await startTestExecutor({
    ...instance,
    path: `${bin}:${process.env['PATH'] ?? ''}`,
    env: { EXECUTOR_ALLOW_HOST_SRC: 'true' },
  });
  const auth = Buffer.from('user:a long password').toString('base64');
  const job = instance.enqueue({
    files: { 'input.json': { content: Buffer.from('{}') } },
    cliSteps: [{ key: 'batch-exec', command: ['batch', 'exec'], dir: 'sub', env: ['FOO=bar'] }],
    dockerAuthConfig: { auths: { 'registry.example.com': { auth } } },
  });
  await instance.ended(job);
  expect(job.failureMessage).toBeUndefined();
  expect(outputOf(job, 'step.src.batch-exec')).toBe(
    'stdout: batch exec in sub with bar\nstdout: 600\nstdout: {"auths":{"registry.example.com":{"auth":"CREDENTIALS_REMOVED"}}}\n',
  );
  const credentials = (await readFile(join(bin, 'docker-config'), 'utf8')).trim();
  expect(credentials).toContain('docker-auth-');
  await expect(stat(credentials)).rejects.toThrow('ENOENT');
  await rm(bin, { recursive: true, force: true });
});
