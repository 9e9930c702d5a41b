import { type JobDocument, type JobList, type JobView, jobViewSchema } from '@kiln/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addUser, type InstanceUnderTest, startInstanceUnderTest } from '../../instance-under-test.ts';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest();
});
afterAll(() => site[Symbol.asyncDispose]());

const steps = [{ image: 'alpine:3', run: 'echo hi' }];

async function view(id: number): Promise<JobView> {
  return jobViewSchema.parse((await site.call('GET', `/.api/jobs/${id}`)).json);
}

/** The job, in the hands of the executor. Other tests leave none behind. */
async function claim(job: JobView): Promise<JobDocument> {
  const { document } = await site.executor.dequeue();
  if (document?.id !== job.id) throw new Error(`job ${document?.id} was given out, not ${job.id}`);
  return document;
}

describe('POST /.api/jobs', () => {
  test('takes everything that a job can be', async () => {
    const job = await site.submit({
      steps: [
        { key: 'build', image: 'alpine:3', run: 'make', dir: 'web', env: { A: 'ü', EMPTY: '' } },
        { image: 'node:24', run: 'npm test' },
      ],
      files: { 'notes/ä.txt': 'Grüße\n', 'zero.bin': { base64: 'AAE=' }, big: 'x'.repeat(70_000) },
      priority: 7,
      timeout: '90s',
      network: 'none',
      resources: { numCPUs: 2, memory: '1GiB' },
      trace: true,
      secrets: [],
    });
    expect(jobViewSchema.parse(job)).toMatchObject({
      queue: 'jobs',
      namespace: 'admin',
      state: 'queued',
      priority: 7,
      timeoutSeconds: 90,
      network: 'none',
      attempt: 0,
      steps: [{ key: 'build', state: 'waiting', dir: 'web' }, { key: '1' }],
      notices: [expect.stringContaining('"limits"')],
      waiting: { code: 'no_executor' },
    });
    const document = await claim(job);
    expect(document).toMatchObject({
      attempt: 1,
      repositoryName: '',
      network: 'none',
      timeoutSeconds: 90,
      resources: { numCPUs: 2, memoryBytes: 1024 ** 3 },
      dockerSteps: [
        {
          key: 'build',
          image: 'alpine:3',
          commands: ['set -e', 'set -x', 'make'],
          dir: 'web',
          env: ['A=ü', 'EMPTY='],
        },
        { key: '', image: 'node:24', commands: ['set -e', 'set -x', 'npm test'] },
      ],
      files: {
        'notes/ä.txt': { content: Buffer.from('Grüße\n') },
        'zero.bin': { bucket: 'jobs', key: expect.any(String) },
        big: { bucket: 'jobs', key: expect.any(String) },
      },
    });
    for (const [path, content] of [
      ['zero.bin', Buffer.from([0, 1])],
      ['big', Buffer.from('x'.repeat(70_000))],
    ] as const) {
      const file = document.files[path];
      if (!file || !('bucket' in file)) throw new Error(`${path} is not a blob`);
      const served = await site.executor.file(document, file.bucket, file.key);
      expect(served.status).toBe(200);
      expect(served.body.equals(content)).toBe(true);
    }
    await site.executor.post('markComplete', document, {});
  });

  test('a file of another job is not served', async () => {
    const job = await site.submit({ steps, files: { 'zero.bin': { base64: 'AAE=' } } });
    const document = await claim(job);
    const other = await claim(await site.submit({ steps }));
    const file = document.files['zero.bin'];
    if (!file || !('bucket' in file)) throw new Error('zero.bin is not a blob');
    expect((await site.executor.file(document, file.bucket, file.key)).status).toBe(200);
    expect((await site.executor.file(other, file.bucket, file.key)).status).toBe(404);
    expect((await site.executor.file(document, file.bucket, 'nope/0')).status).toBe(404);
    for (const one of [document, other]) await site.executor.post('markComplete', one, {});
  });

  test.each<[string, unknown, number, string, RegExp]>([
    ['no steps', {}, 400, 'invalid_request', /^steps: .*received undefined/],
    ['an empty list of steps', { steps: [] }, 400, 'invalid_request', /^steps: /],
    ['101 steps', { steps: Array(101).fill(steps[0]) }, 400, 'invalid_job', /^steps: there are 101 entries/],
    ['a step without image', { steps: [{ run: 'x' }] }, 400, 'invalid_request', /^steps\[0\]\.image: /],
    ['an empty run', { steps: [{ image: 'a', run: '' }] }, 400, 'invalid_request', /^steps\[0\]\.run: /],
    [
      'unknown keys, all of them named',
      { steps: [{ image: 'a', run: 'b', imagee: 1 }], timeOut: '1m', x: 1 },
      400,
      'invalid_request',
      /imagee.*timeOut.*x/,
    ],
    ['a list', [], 400, 'invalid_request', /^body: /],
    ['null', null, 400, 'invalid_request', /^body: /],
    [
      'a bad variable name',
      { steps: [{ image: 'a', run: 'b', env: { 'A B': '' } }] },
      400,
      'invalid_request',
      /A B/,
    ],
    ['bad base64', { steps, files: { a: { base64: '%%' } } }, 400, 'invalid_request', /^files\.a\.base64: /],
    ['a priority out of range', { steps, priority: 101 }, 400, 'invalid_request', /^priority: /],
    ['an unknown queue', { steps, queue: 'fast' }, 400, 'invalid_request', /^queue: /],
    [
      'a private path',
      { steps, files: { '.git/hooks/x': '' } },
      400,
      'invalid_job',
      /^private path in `files` refused/,
    ],
    [
      'a path that escapes',
      { steps, files: { '../x': '' } },
      400,
      'invalid_job',
      /must not leave the workspace/,
    ],
    ['a timeout without unit', { steps, timeout: '30' }, 400, 'invalid_job', /^timeout: .*needs a unit/],
    ['an unknown secret', { steps, secrets: ['TOKEN'] }, 400, 'unknown_secret', /TOKEN of scope JOBS/],
    [
      'a secret that is no name',
      { steps, secrets: ['token'] },
      400,
      'invalid_request',
      /^secrets\[0\]: must be/,
    ],
    ['an unknown namespace', { steps, namespace: 'nobody' }, 400, 'unknown_namespace', /"nobody"/],
    ['a namespace with a NUL', { steps, namespace: 'a\0' }, 400, 'invalid_job', /^namespace: /],
    ['an unknown repository', { steps, repository: 'x/y' }, 404, 'repository_not_found', /"x\/y"/],
  ])('refuses %s', async (_, body, status, code, message) => {
    const reply = await site.call('POST', '/.api/jobs', { body });
    expect(reply.json).toEqual({
      error: expect.objectContaining({ code, message: expect.stringMatching(message) }),
    });
    expect(reply.status).toBe(status);
  });

  test.each<[string, string | Buffer, number]>([
    ['no JSON', '{', 400],
    ['nothing', '', 400],
    ['__proto__', '{"steps": [], "__proto__": {"x": 1}}', 400],
    ['a nested __proto__', '{"steps": [{"image": "a", "run": "b", "env": {"__proto__": "x"}}]}', 400],
    ['constructor.prototype', '{"constructor": {"prototype": {"x": 1}}}', 400],
    ['deep nesting', `{"steps": ${'['.repeat(500_000)}${']'.repeat(500_000)}}`, 400],
    ['deep objects', `{"files": ${'{"a":'.repeat(300_000)}1${'}'.repeat(300_000)}}`, 400],
    [
      'invalid UTF-8',
      Buffer.concat([Buffer.from('{"steps": "'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
      400,
    ],
    ['10 MiB of keys', JSON.stringify(numbered(400_000, 1)), 400],
    ['10 MiB of steps', `{"steps": [${'{},'.repeat(3_000_000)}{}]}`, 400],
    ['10 MiB of files that are none', JSON.stringify({ steps, files: numbered(400_000, 1) }), 400],
    ['10 MiB of variables', JSON.stringify({ steps: [{ ...steps[0], env: numbered(400_000, 1) }] }), 400],
    ['10 MiB of patterns', `{"repository": "r", "clone": {"sparse": [${'1,'.repeat(4_000_000)}1]}}`, 400],
    ['more than 10 MiB', JSON.stringify({ steps, files: { a: 'x'.repeat(10 * 1024 * 1024) } }), 413],
  ])('survives %s', async (_, text, status) => {
    const reply = await site.call('POST', '/.api/jobs', { text });
    expect(reply.status).toBe(status);
    expect(reply.json).toMatchObject({ error: { code: expect.any(String), message: expect.any(String) } });
    // However much was wrong, the answer is short.
    expect(reply.text.length).toBeLessThan(10_000);
  });

  test('names that objects have of their own are ordinary names', async () => {
    const job = await site.submit({
      steps: [{ image: 'a', run: 'b', env: { constructor: 'x', toString: 'y' } }],
      files: { constructor: 'c', 'hasOwnProperty/valueOf': 'v' },
    });
    const document = await claim(job);
    expect(document.dockerSteps[0]?.env.sort()).toEqual(['constructor=x', 'toString=y']);
    expect(Object.keys(document.files).sort()).toEqual(['constructor', 'hasOwnProperty/valueOf']);
    await site.executor.post('markComplete', document, {});
  });

  test('a body of nearly 10 MiB becomes a job', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 150 }, (_, index) => [`f${index}`, 'y'.repeat(65_000)]),
    );
    const job = await site.submit({ steps, files });
    const document = await claim(job);
    expect(Object.keys(document.files)).toHaveLength(150);
    await site.executor.post('markComplete', document, {});
  });

  test('other media types are refused', async () => {
    const reply = await site.call('POST', '/.api/jobs', {
      text: 'steps: []',
      headers: { 'content-type': 'text/yaml' },
    });
    expect(reply).toMatchObject({ status: 415, json: { error: { code: 'unsupported_media_type' } } });
  });

  test('refuses without a token before it reads the body', async () => {
    const reply = await site.call('POST', '/.api/jobs', { text: '{', token: null });
    expect(reply.status).toBe(401);
  });
});

describe('Idempotency-Key', () => {
  test('gives the same job again, and refuses another body', async () => {
    const headers = { 'idempotency-key': 'build-1' };
    const body = { steps, priority: 1 };
    const first = await site.call('POST', '/.api/jobs', { body, headers });
    const again = await site.call('POST', '/.api/jobs', { body: { priority: 1, steps }, headers });
    expect(first.status).toBe(201);
    expect(first.headers.get('idempotency-repeated')).toBeNull();
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotency-repeated')).toBe('true');
    expect((again.json as JobView).id).toBe((first.json as JobView).id);
    const other = await site.call('POST', '/.api/jobs', { body: { steps, priority: 2 }, headers });
    expect(other).toMatchObject({ status: 409, json: { error: { code: 'idempotency_key_reused' } } });
    const bad = await site.call('POST', '/.api/jobs', { body, headers: { 'idempotency-key': 'a b' } });
    expect(bad.status).toBe(400);
    await site.call('POST', `/.api/jobs/${(first.json as JobView).id}/cancel`);
  });

  test('of many requests at once one makes the job', async () => {
    const headers = { 'idempotency-key': 'race' };
    const files = { 'a.bin': { base64: 'AAE=' } };
    const jobs = await Promise.all(Array.from({ length: 8 }, () => site.submit({ steps, files }, headers)));
    expect(new Set(jobs.map((job) => job.id)).size).toBe(1);
    await site.call('POST', `/.api/jobs/${jobs[0]?.id}/cancel`);
  });

  test('of another user is another key', async () => {
    const token = await addUser(site, 'carla');
    const headers = { 'idempotency-key': 'shared' };
    const mine = await site.submit({ steps }, headers);
    const theirs = await site.call('POST', '/.api/jobs', { body: { steps }, headers, token });
    expect(theirs.status).toBe(201);
    expect((theirs.json as JobView).id).not.toBe(mine.id);
    for (const id of [mine.id, (theirs.json as JobView).id])
      await site.call('POST', `/.api/jobs/${id}/cancel`);
  });
});

describe('lists', () => {
  test('are paged, newest first, by state and queue', async () => {
    const jobs: JobView[] = [];
    for (let index = 0; index < 5; index++) jobs.push(await site.submit({ steps, queue: 'codeintel' }));
    await site.call('POST', `/.api/jobs/${jobs[0]?.id}/cancel`);
    const ids: number[] = [];
    let after = '';
    for (let pages = 0; pages < 10; pages++) {
      const page = (await site.call('GET', `/.api/jobs?queue=codeintel&state=queued&first=2${after}`))
        .json as JobList;
      expect(page.jobs.length).toBeLessThanOrEqual(2);
      ids.push(...page.jobs.map((job) => job.id));
      if (page.nextCursor === null) break;
      after = `&after=${page.nextCursor}`;
    }
    expect(ids).toEqual(
      jobs
        .slice(1)
        .map((job) => job.id)
        .reverse(),
    );
    expect((await site.call('GET', '/.api/jobs?after=nonsense')).json).toMatchObject({
      error: { code: 'invalid_cursor' },
    });
    expect((await site.call('GET', '/.api/jobs?first=0')).status).toBe(400);
    for (const id of ids) await site.call('POST', `/.api/jobs/${id}/cancel`);
  });

  test('and jobs are only those of the own namespace, except for site admins', async () => {
    const token = await addUser(site, 'dora');
    const own = (await site.call('POST', '/.api/jobs', { body: { steps }, token })).json as JobView;
    const foreign = await site.submit({ steps, queue: 'batches' });
    expect(own.namespace).toBe('dora');
    const list = (await site.call('GET', '/.api/jobs', { token })).json as JobList;
    expect(list.jobs.map((job) => job.id)).toEqual([own.id]);
    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/log'],
      ['GET', '/logEntries/1/output'],
      ['POST', '/cancel'],
      ['POST', '/retry'],
    ] as const) {
      const reply = await site.call(method, `/.api/jobs/${foreign.id}${path}`, { token });
      expect(reply).toMatchObject({ status: 404, json: { error: { code: 'unknown_job' } } });
    }
    expect((await view(own.id)).namespace).toBe('dora');
    expect((await site.submit({ steps, queue: 'batches', namespace: 'dora' })).namespace).toBe('dora');
    expect(
      (await site.call('POST', '/.api/jobs', { body: { steps, namespace: 'admin' }, token })).status,
    ).toBe(400);
    await site.call('POST', `/.api/jobs/${own.id}/cancel`);
  });
});

describe('one job', () => {
  test('shows why it waits', async () => {
    const job = await site.submit({ steps, network: 'none' });
    expect((await view(job.id)).waiting).toMatchObject({ code: 'no_executor', ahead: 0 });
    await site.executor.heartbeat();
    expect((await view(job.id)).waiting).toMatchObject({ code: 'executors_busy', ahead: 0 });
    const second = await site.submit({ steps });
    expect((await view(second.id)).waiting).toMatchObject({ code: 'behind', ahead: 1 });
    const urgent = await site.submit({ steps, priority: 5 });
    expect((await view(second.id)).waiting).toMatchObject({ code: 'behind', ahead: 2 });
    await site.database.query(`update executors set extensions = '{}'`);
    expect((await view(job.id)).waiting).toMatchObject({ code: 'needs_extension' });
    for (const { id } of [job, second, urgent]) {
      await site.call('POST', `/.api/jobs/${id}/cancel`);
      expect(await view(id)).toMatchObject({
        state: 'canceled',
        waiting: null,
        steps: [{ state: 'skipped' }],
      });
    }
  });

  test('shows its way through an executor, and is retried', async () => {
    const job = await site.submit({ steps: [...steps, { image: 'b', run: 'c' }] });
    const first = await claim(job);
    await site.executor.logEntry(first, {
      key: 'setup.git.init',
      command: ['git', 'init'],
      startTime: time,
      exitCode: 0,
      durationMs: 3,
      out: '',
    });
    await site.executor.logEntry(first, {
      key: 'step.docker.0',
      command: ['sh', '-c', 'echo hi'],
      startTime: time,
      out: 'stdout: hi\n',
    });
    expect(await view(job.id)).toMatchObject({
      state: 'processing',
      executor: site.executor.name,
      attempt: 1,
      steps: [{ state: 'running' }, { state: 'waiting' }],
      logEntries: [
        { key: 'setup.git.init', exitCode: 0 },
        { key: 'step.docker.0', exitCode: null, bytes: 11 },
      ],
    });
    expect(await site.call('POST', `/.api/jobs/${job.id}/retry`)).toMatchObject({
      status: 409,
      json: { error: { code: 'job_not_ended' } },
    });
    await site.executor.post('markErrored', first, {
      errorMessage: 'step 0 failed',
      usage: [{ key: 'step.docker.0', cpuSeconds: 1.5 }],
    });
    expect(await view(job.id)).toMatchObject({
      state: 'failed',
      failureKind: 'errored',
      failureMessage: 'step 0 failed',
      steps: [{ state: 'failed' }, { state: 'skipped' }],
      usage: [{ key: 'step.docker.0', cpuSeconds: 1.5 }],
    });

    expect((await site.call('POST', `/.api/jobs/${job.id}/retry`)).json).toMatchObject({
      state: 'queued',
      steps: [{ state: 'waiting' }, { state: 'waiting' }],
    });
    const second = await claim(job);
    expect(second.attempt).toBe(2);
    await site.executor.logEntry(second, {
      key: 'step.docker.0',
      command: ['sh'],
      startTime: time,
      exitCode: 0,
      durationMs: 1000,
      out: 'stdout: again\n',
    });
    await site.executor.post('markComplete', second, {});
    expect(await view(job.id)).toMatchObject({
      state: 'completed',
      attempt: 2,
      attempts: [{ attempt: 1, executor: site.executor.name, ended: 'failed', message: 'step 0 failed' }],
      steps: [{ state: 'completed', exitCode: 0, durationMs: 1000 }, { state: 'skipped' }],
    });
    expect((await site.call('GET', `/.api/jobs/${job.id}/log`)).text).toBe(`[setup.git.init] $ git init
[setup.git.init] exit code 0 after 0.0 s
[step.docker.0] $ sh -c "echo hi"
stdout: hi
[attempt 2]
[step.docker.0] $ sh
stdout: again
[step.docker.0] exit code 0 after 1.0 s
[job] completed
`);
    expect((await site.call('GET', `/.api/jobs/${job.id}/log?attempt=1`)).text).not.toContain('again');
    expect((await site.call('GET', `/.api/jobs/${job.id}/log?attempt=9`)).json).toMatchObject({
      error: { code: 'unknown_attempt' },
    });
  });

  test('is told to its executor when it is canceled', async () => {
    const job = await site.submit({ steps });
    const document = await claim(job);
    expect((await site.call('POST', `/.api/jobs/${job.id}/cancel`)).json).toMatchObject({
      state: 'processing',
      cancelRequested: true,
    });
    await site.executor.post('markFailed', document, { errorMessage: 'canceled' });
    expect(await view(job.id)).toMatchObject({ state: 'canceled' });
    expect(await site.call('POST', `/.api/jobs/${job.id}/cancel`)).toMatchObject({
      status: 409,
      json: { error: { code: 'job_ended' } },
    });
  });

  test.each(['0', '-1', '1.5', 'x', '99999999999999999999', '1e3000'])('id %s is refused', async (id) => {
    expect((await site.call('GET', `/.api/jobs/${id}`)).status).toBe(400);
  });

  test('that does not exist is told', async () => {
    expect(await site.call('GET', '/.api/jobs/999999')).toMatchObject({
      status: 404,
      json: { error: { code: 'unknown_job', message: 'There is no job 999999' } },
    });
  });
});

const time = '2026-01-01T00:00:00Z';

function numbered(count: number, value: unknown): Record<string, unknown> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, value]));
}
