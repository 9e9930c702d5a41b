import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  jobEvents,
  jobView,
  kiln,
  refuse,
  scriptedInstance,
  sendEvents,
} from './testing/scripted-instance.ts';

describe('kiln job submit', () => {
  it('sends the job and prints its number', async () => {
    await using instance = await scriptedInstance({ 'POST /.api/jobs': jobView() });
    const result = await kiln(['job', 'submit', '--image', 'busybox', '--', 'echo', 'a b'], instance);
    expect(result).toMatchObject({ exitCode: 0, stdout: '7\n' });
    expect(instance.bodies).toEqual([{ steps: [{ image: 'busybox', run: "echo 'a b'" }] }]);
    expect(instance.headers[0]?.authorization).toBe('token secret-of-the-test');
  });

  it('prints the whole job for programs', async () => {
    await using instance = await scriptedInstance({ 'POST /.api/jobs': jobView() });
    const result = await kiln(
      ['job', 'submit', '--json', '-s', 'busybox: true', '--idempotency-key', 'k'],
      instance,
    );
    expect(JSON.parse(result.stdout)).toEqual(jobView());
    expect(instance.headers[0]?.['idempotency-key']).toBe('k');
  });

  it.each([
    ['completed', 0, 0],
    ['failed', 3, 1],
    ['canceled', -1, 3],
  ] as const)('--wait exits with the outcome %s', async (state, stepExitCode, exitCode) => {
    const ended = jobView({ state, attempt: 1, failureMessage: state === 'failed' ? 'step 0 failed' : null });
    await using instance = await scriptedInstance({
      'POST /.api/jobs': jobView(),
      'GET /.api/jobs/7': ended,
      'GET /.api/jobs/7/log': (_request, response) => {
        sendEvents(response, jobEvents('stdout: out\nstderr: err\n', { exitCode: stepExitCode, state }));
        response.end();
      },
    });
    const result = await kiln(['job', 'submit', '--wait', '-s', 'busybox: true'], instance);
    expect(result.exitCode).toBe(exitCode);
    expect(result.stdout).toBe('out\n');
    expect(result.stderr).toContain('step 1/1 (busybox)');
    expect(result.stderr).toMatch(/^err$/m);
    expect(result.stderr).toContain(`job 7 ${state}`);
    expect(result.stderr).not.toContain('initialized');
  });

  it('--wait takes a broken stream up again where it broke', async () => {
    const events = jobEvents('stdout: one\nstdout: two\n', { exitCode: 0, state: 'completed' });
    await using instance = await scriptedInstance({
      'POST /.api/jobs': jobView(),
      'GET /.api/jobs/7': jobView({ state: 'completed', attempt: 1 }),
      'GET /.api/jobs/7/log': (request, response) => {
        const seen = Number(request.headers['last-event-id'] ?? 0);
        if (seen > 0) {
          sendEvents(response, events.slice(seen), seen + 1);
          response.end();
          return;
        }
        sendEvents(response, events.slice(0, 6));
        response.write('id: 99\nevent: output\nda', () => response.destroy());
      },
    });
    const result = await kiln(['job', 'submit', '--wait', '-s', 'busybox: true'], instance);
    expect(result).toMatchObject({ exitCode: 0, stdout: 'one\ntwo\n' });
    expect(result.stderr).toContain('connected again');
  });

  it('stops waiting when interrupted and says how to go on', async () => {
    const interruption = new AbortController();
    await using instance = await scriptedInstance({
      'POST /.api/jobs': jobView(),
      'GET /.api/jobs/7/log': (_request, response) => {
        sendEvents(response, jobEvents('', { exitCode: 0, state: 'completed' }).slice(0, 1));
        setTimeout(() => interruption.abort(), 20);
      },
    });
    const result = await kiln(['job', 'submit', '--wait', '-s', 'busybox: true'], {
      url: instance.url,
      interrupted: interruption.signal,
    });
    expect(result.exitCode).toBe(130);
    expect(result.stderr).toContain('job 7 goes on (kiln job logs --follow 7, kiln job cancel 7)');
  });
});

describe('kiln job', () => {
  it('logs shows the whole log', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/jobs/7': jobView(),
      'GET /.api/jobs/7/log': (_request, response) => {
        sendEvents(response, jobEvents('stdout: \x1b]0;title\x07out\n', { exitCode: 0, state: 'completed' }));
        response.end();
      },
    });
    const result = await kiln(['job', 'logs', '7'], instance);
    expect(result).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: [
        '[setup.git.init] $ git init',
        'initialized',
        '[setup.git.init] done in 1.23 s',
        '[step.docker.0] $ docker run',
        'out',
        '[step.docker.0] done in 1.23 s',
        '',
      ].join('\n'),
    });
  });

  it('show explains a waiting job, and nothing in it can drive a terminal', async () => {
    const waiting = { code: 'no_executor', message: 'no executor\x1b[2J serves jobs', ahead: null } as const;
    await using instance = await scriptedInstance({ 'GET /.api/jobs/7': jobView({ waiting }) });
    const { stdout } = await kiln(['job', 'show', '7'], instance);
    expect(stdout).toMatch(/^waiting: +no executor serves jobs$/m);
    expect(stdout).toMatch(/^1 +waiting +busybox +echo hello$/m);
  });

  it('list asks for what was asked for', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/jobs': { jobs: [jobView()], nextCursor: 'x' },
    });
    const { stdout, stderr } = await kiln(['job', 'list', '--state', 'queued', '--first', '1'], instance);
    expect(instance.requests).toEqual(['GET /.api/jobs?first=1&state=queued']);
    expect(stdout).toMatch(/^7 +queued +jobs/m);
    expect(stderr).toBe('older jobs: --after x\n');
  });

  it.each([
    ['job', 'list', '--first'],
    ['secret', 'uses', '-n'],
    ['config', 'history', '-n'],
  ])('%s %s %s takes as many as an instance gives', async (...args) => {
    await using instance = await scriptedInstance({});
    await kiln([...args, '200'], instance);
    expect(instance.requests).toEqual([expect.stringContaining('first=200')]);
    const { exitCode, stderr } = await kiln([...args, '201'], instance);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining('a whole number from 1 to 200'),
    });
    expect(instance.requests).toHaveLength(1);
  });

  it('cancel and retry', async () => {
    await using instance = await scriptedInstance({
      'POST /.api/jobs/7/cancel': jobView({ state: 'processing', cancelRequested: true }),
      'POST /.api/jobs/7/retry': jobView({ attempt: 1 }),
    });
    expect((await kiln(['job', 'cancel', '7'], instance)).stdout).toBe('job 7 is being canceled\n');
    expect((await kiln(['job', 'retry', '#7'], instance)).stdout).toBe('job 7 queued again\n');
  });
});

describe('kiln repo and executor', () => {
  const repository = {
    name: 'github.com/acme/widgets',
    cloneURL: '/srv/widgets',
    status: 'ready',
    lastError: null,
    lastFetchedAt: null,
    defaultBranch: 'main',
    headCommit: 'a'.repeat(40),
    sizeBytes: 2048,
    createdAt: '2026-01-01T00:00:00.000Z',
  };

  it('repo add makes a relative path absolute and encodes names', async () => {
    await using instance = await scriptedInstance({
      'POST /.api/repositories': { ...repository, status: 'new', headCommit: null },
      'POST /.api/repositories/github.com%2Facme%2Fwidgets/sync': repository,
    });
    const added = await kiln(['repo', 'add', repository.name, './widgets'], {
      url: instance.url,
      cwd: '/srv',
    });
    expect(added).toMatchObject({ exitCode: 0, stdout: `${repository.name}: main = aaaaaaaaaaaa\n` });
    expect(instance.bodies[0]).toEqual({ name: repository.name, cloneURL: '/srv/widgets' });
    expect((await kiln(['repo', 'sync', repository.name], instance)).exitCode).toBe(0);
  });

  it('repo add waits for the end of a long fetch, and fails with its reason', async () => {
    const refusals = [
      { status: 503, code: 'fetch_pending', message: 'the repository is still being fetched' },
      { status: 502, code: 'fetch_failed', message: 'the server of the clone URL does not answer' },
    ];
    await using instance = await scriptedInstance({
      'POST /.api/repositories': { ...repository, status: 'new', headCommit: null },
      'POST /.api/repositories/github.com%2Facme%2Fwidgets/sync': (_request, response) => {
        const { status = 500, ...error } = refusals.shift() ?? { code: 'none', message: 'none' };
        refuse(response, status, error);
      },
    });
    const { exitCode, stderr } = await kiln(['repo', 'add', repository.name, '/srv/widgets'], instance);
    expect(exitCode).toBe(2);
    expect(stderr).toBe(
      `${repository.name} is registered; fetching it now\n` +
        `${repository.name} is still being fetched; it goes on when this command is interrupted\n` +
        'kiln: the server of the clone URL does not answer\n',
    );
  });

  it('executor token prints the secret alone on standard output', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/site-config/executor-token': { accessToken: 'the-shared-secret', externalURL: null },
    });
    const { stdout, stderr } = await kiln(['executor', 'token'], instance);
    expect(stdout).toBe('the-shared-secret\n');
    expect(stderr).toContain(`EXECUTOR_FRONTEND_URL=${instance.url}`);
    expect(stderr).not.toContain('the-shared-secret');
  });
});

describe('errors say what to do', () => {
  it('no instance', async () => {
    const { url } = await (async () => {
      await using instance = await scriptedInstance({});
      return { url: instance.url };
    })();
    const { exitCode, stderr } = await kiln(['job', 'list'], { url });
    expect(exitCode).toBe(2);
    expect(stderr).toBe(
      `kiln: no Kiln instance answers at ${url}: nothing listens there\n` +
        '  start one with `kiln serve`, or set KILN_URL to the address of yours\n',
    );
  });

  it('a refusal with its hint', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/jobs': (_request, response) =>
        refuse(response, 400, { code: 'bad', message: 'first is too large', hint: 'at most 100' }),
    });
    const { exitCode, stderr } = await kiln(['job', 'list'], instance);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: 'kiln: first is too large\n  at most 100\n',
    });
  });

  it('a refused token, without showing it', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/jobs': (_request, response) =>
        refuse(response, 401, { code: 'unauthenticated', message: 'The access token is unknown' }),
    });
    const { stderr } = await kiln(['job', 'list'], instance);
    expect(stderr).toContain('token used: KILN_TOKEN');
    expect(stderr).not.toContain('secret-of-the-test');
  });

  it('a redirect is not followed', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/jobs': (_request, response) =>
        response.writeHead(302, { location: 'https://elsewhere/' }).end(),
    });
    const { exitCode, stderr } = await kiln(['job', 'list'], instance);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('redirects to https://elsewhere/');
    expect(instance.requests).toHaveLength(1);
  });

  it('something that is no Kiln instance', async () => {
    await using instance = await scriptedInstance({ 'GET /.api/jobs': { hello: 'world' } });
    expect((await kiln(['job', 'list'], instance)).stderr).toContain('is it a Kiln instance');
  });

  it.each([
    [['job', 'submit'], 'there is nothing to run'],
    [['job', 'submit', '--image', 'busybox'], '--image needs a command'],
    [['job', 'submit', '--', 'ls'], 'needs an image'],
    [['job', 'show', 'x'], 'a job is named by its number'],
    [['job', 'list', '--state', 'done'], 'Allowed choices are queued, processing'],
    [['job', 'frobnicate'], "unknown command 'frobnicate'"],
    [['--url', 'ftp://x', 'job', 'list'], 'is not the address of an instance'],
  ])('%j', async (args, message) => {
    const { exitCode, stderr, stdout } = await kiln(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  it('help and version are successes', async () => {
    expect((await kiln(['--help'])).stdout).toContain('Exit codes: 0 success');
    expect(await kiln(['--version'])).toMatchObject({ exitCode: 0, stdout: '0.1.0\n' });
  });
});

describe('the admin token of a local instance', () => {
  it('is used on loopback where KILN_TOKEN is unset, and goes nowhere else', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'kiln-cli-'));
    try {
      await mkdir(path.join(directory, '.kiln'));
      await writeFile(path.join(directory, '.kiln', 'admin-token'), 'from-the-file\n');
      await using instance = await scriptedInstance({ 'GET /.api/jobs': { jobs: [], nextCursor: null } });
      const env = { KILN_TOKEN: undefined };
      await kiln(['job', 'list'], { url: instance.url, env, cwd: directory });
      await kiln(['job', 'list'], {
        url: instance.url,
        env: { ...env, KILN_DATA_DIR: path.join(directory, '.kiln') },
      });
      expect(instance.headers.map((headers) => headers.authorization)).toEqual([
        'token from-the-file',
        'token from-the-file',
      ]);
      const { resolveConnection } = await import('./api/connection.ts');
      const remote = await resolveConnection({ env: {}, cwd: directory }, 'https://kiln.example.com');
      expect(remote).toEqual({
        url: 'https://kiln.example.com',
        loopback: false,
        token: undefined,
        tokenSource: 'none: KILN_TOKEN is not set',
      });
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
