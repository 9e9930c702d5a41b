import { messages } from '@kiln/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ApiUnderTest, secret, sharedSecret, startApi } from './api-under-test.ts';

const dead = 'ab'.repeat(20);

describe('authentication', () => {
  let api: ApiUnderTest;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api?.[Symbol.asyncDispose]());
  beforeEach(() => {
    api.settings = { executorTokens: [secret], requireJobTokens: false };
  });

  async function get(url: string, headers: Record<string, string>) {
    return api.server.inject({ method: 'GET', url, headers });
  }
  async function post(url: string, headers: Record<string, string>, payload: object = {}) {
    return api.server.inject({ method: 'POST', url, headers, payload });
  }

  describe('A, the shared secret', () => {
    const refusals: [string, Record<string, string>, string][] = [
      ['no header', {}, messages.sharedSecretMissing],
      ['an empty header', { authorization: '' }, messages.sharedSecretMissing],
      ['one part', { authorization: 'token-executor' }, messages.sharedSecretForm],
      ['three parts', { authorization: `token-executor ${secret} x` }, messages.sharedSecretForm],
      ['two spaces', { authorization: `token-executor  ${secret}` }, messages.sharedSecretForm],
      ['another scheme', { authorization: `Bearer ${secret}` }, messages.sharedSecretScheme],
      [
        'the scheme in other case',
        { authorization: `Token-Executor ${secret}` },
        messages.sharedSecretScheme,
      ],
      ['basic authentication', { authorization: 'Basic YTpi' }, messages.sharedSecretScheme],
      ['an empty secret', { authorization: 'token-executor ' }, messages.sharedSecretMissing],
    ];
    for (const url of [
      '/.executors/test/auth',
      '/.executors/queue/dequeue',
      '/.executors/queue/batches/heartbeat',
    ]) {
      const send = (headers: Record<string, string>) =>
        url.endsWith('auth') ? get(url, headers) : post(url, headers);
      it.each(refusals)(`refuses %s at ${url}`, async (_, headers, text) => {
        const reply = await send(headers);
        expect(reply.statusCode).toBe(401);
        expect(reply.body).toBe(`${text}\n`);
        expect(reply.headers['content-type']).toBe('text/plain; charset=utf-8');
        expect(reply.headers['x-content-type-options']).toBe('nosniff');
      });
      it(`refuses a wrong secret with an empty body at ${url}`, async () => {
        for (const wrong of [`${secret}x`, secret.slice(1), secret.toUpperCase(), 'x']) {
          const reply = await send({ authorization: `token-executor ${wrong}` });
          expect([reply.statusCode, reply.body]).toEqual([401, '']);
        }
      });
      it(`refuses everything at ${url} while no secret is configured`, async () => {
        api.settings.executorTokens = [];
        for (const headers of [{}, sharedSecret, { authorization: 'token-executor ' }]) {
          const reply = await send(headers);
          expect([reply.statusCode, reply.body]).toEqual([401, `${messages.notConfigured}\n`]);
        }
      });
    }

    it('accepts every configured secret', async () => {
      api.settings.executorTokens = ['another-secret', secret];
      for (const accepted of api.settings.executorTokens) {
        const reply = await get('/.executors/test/auth', { authorization: `token-executor ${accepted}` });
        expect([reply.statusCode, reply.body]).toEqual([200, 'ok']);
        expect(reply.headers['kiln-extensions']).toContain('long-poll');
        expect(reply.headers['kiln-version']).toMatch(/^\d+\./);
      }
    });
  });

  describe('B, the job token', () => {
    const jobRoutes = [
      'queue/jobs/addExecutionLogEntry',
      'queue/jobs/updateExecutionLogEntry',
      'queue/jobs/appendExecutionLog',
      'queue/jobs/markComplete',
      'queue/jobs/markErrored',
      'queue/jobs/markFailed',
      'queue/jobs/release',
      'git/github.com/acme/widgets/info/refs',
      'git/github.com/acme/widgets/git-upload-pack',
      'files/batch-changes/spec/file',
      'files/jobs/a/b',
    ];
    const identity = { 'x-sourcegraph-job-id': '1', 'x-sourcegraph-executor-name': 'e' };
    const bearer = { authorization: `Bearer ${dead}` };
    const refusals: [string, Record<string, string>, number, string][] = [
      ['no header', {}, 401, messages.jobAuthMissing],
      ['one part', { authorization: 'Bearer' }, 401, messages.jobAuthForm],
      ['three parts', { authorization: 'Bearer a b' }, 401, messages.jobAuthForm],
      ['another scheme', { authorization: 'token x' }, 401, messages.jobAuthScheme],
      ['no token', { authorization: 'Bearer ' }, 401, messages.jobAuthMissing],
      ['no job id', bearer, 400, messages.jobIdMissing],
      [
        'a job id that is no number',
        { ...bearer, 'x-sourcegraph-job-id': 'abc' },
        400,
        messages.jobIdInvalid('abc'),
      ],
      [
        'a job id of too many digits',
        { ...bearer, 'x-sourcegraph-job-id': '99999999999999999999' },
        400,
        'failed to parse Job ID: strconv.Atoi: parsing "99999999999999999999": value out of range',
      ],
      ['no executor name', { ...bearer, 'x-sourcegraph-job-id': '1' }, 400, messages.executorNameMissing],
      ['an unknown token', { ...bearer, ...identity }, 401, messages.invalidToken],
      ['a token that is not hex', { ...identity, authorization: 'Bearer xyz' }, 401, messages.invalidToken],
    ];
    for (const route of jobRoutes) {
      const url = `/.executors/${route}`;
      const send = (headers: Record<string, string>) =>
        /files|info/.test(url) ? get(url, headers) : post(url, headers);
      it(`refuses at ${route}, in the order of the reference`, async () => {
        for (const [what, headers, status, text] of refusals) {
          const reply = await send(headers);
          expect([reply.statusCode, reply.body], what).toEqual([status, `${text}\n`]);
          expect(reply.headers['x-content-type-options']).toBe('nosniff');
        }
        const wrong = await send({ authorization: 'token-executor wrong' });
        expect([wrong.statusCode, wrong.body]).toEqual([403, '']);
        api.settings.executorTokens = [];
        const unconfigured = await send({ authorization: 'token-executor ' });
        expect(unconfigured.statusCode).toBe(401);
        expect((await send({ authorization: 'token-executor undefined' })).statusCode).toBe(403);
      });
      it(`accepts the shared secret at ${route}, unless job tokens are required`, async () => {
        expect([401, 403]).not.toContain((await send(sharedSecret)).statusCode);
        api.settings.requireJobTokens = true;
        expect((await send(sharedSecret)).statusCode).toBe(403);
      });
    }

    it('binds a token to its job, queue, repository, executor and attempt', async () => {
      const id = await api.enqueue({ queue: 'batches', repositoryName: 'github.com/acme/widgets' });
      const dequeued = await post('/.executors/queue/batches/dequeue', sharedSecret, { executorName: 'e-1' });
      const { token } = dequeued.json<{ token: string }>();
      const headers = {
        authorization: `Bearer ${token}`,
        'x-sourcegraph-job-id': String(id),
        'x-sourcegraph-executor-name': 'e-1',
      };
      const entry = {
        executorName: 'e-1',
        jobId: id,
        key: 'k',
        command: ['a'],
        startTime: '2020-04-20T15:29:17Z',
      };
      const add = (queue: string, more: Record<string, string>, body: object = {}) =>
        post(
          `/.executors/queue/${queue}/addExecutionLogEntry`,
          { ...headers, ...more },
          { ...entry, ...body },
        );
      expect((await add('batches', {})).statusCode).toBe(200);
      expect((await add('batches', { 'x-sourcegraph-job-id': `+${id}` })).statusCode).toBe(200);

      const invalid = `${messages.invalidToken}\n`;
      for (const refused of [
        await add('codeintel', {}),
        await add('batches', { 'x-sourcegraph-job-id': String(id + 1) }),
        await add('batches', { 'x-sourcegraph-executor-name': 'e-2' }),
        await get('/.executors/git/github.com/acme/other/info/refs', headers),
      ]) {
        expect([refused.statusCode, refused.body]).toEqual([403, invalid]);
      }
      expect((await add('batches', {}, { jobId: id + 1 })).statusCode).toBe(403);
      expect((await add('batches', {}, { executorName: 'e-2' })).statusCode).toBe(403);
      expect((await add('batches', {}, { executorName: '' })).statusCode).toBe(400);
      const stale = await add('batches', {}, { attempt: 2 });
      expect([stale.statusCode, stale.json()]).toEqual([409, { error: messages.staleAttempt }]);

      const git = await get(
        '/.executors/git/github.com/acme/widgets/info/refs?service=git-upload-pack',
        headers,
      );
      expect([git.statusCode, git.body]).toEqual([
        200,
        'github.com/acme/widgets info/refs service=git-upload-pack',
      ]);

      // After the mark the token authorises that mark again, and nothing else.
      const markHeaders = [
        `/.executors/queue/batches/markComplete`,
        headers,
        { executorName: 'e-1', jobId: id },
      ] as const;
      expect((await post(...markHeaders)).statusCode).toBe(204);
      expect((await post(...markHeaders)).statusCode).toBe(204);
      const failed = await post('/.executors/queue/batches/markFailed', headers, {
        executorName: 'e-1',
        jobId: id,
      });
      expect([failed.statusCode, failed.body]).toEqual([404, 'null']);
      expect((await add('batches', {})).statusCode).toBe(401);
      expect((await get('/.executors/git/github.com/acme/widgets/info/refs', headers)).statusCode).toBe(401);

      // A newer attempt ends it altogether.
      expect(await api.queue.retry(id)).toBe('queued');
      await post('/.executors/queue/batches/dequeue', sharedSecret, { executorName: 'e-1' });
      expect((await post(...markHeaders)).statusCode).toBe(401);
    });
  });

  describe('what needs none', () => {
    it.each([
      ['GET', '/.executors'],
      ['GET', '/.executors/nothing'],
      ['POST', '/.executors/queue/batchs/dequeue'],
      ['POST', '/.executors/queue/jobs/canceledJobs'],
      ['POST', '/.executors/queue/nosuch/markComplete'],
      ['GET', '/.executors/git/repo/HEAD'],
      ['GET', '/.executors/files/other-bucket/a/b'],
      ['GET', '/.executors/%zz'],
    ] as const)('%s %s does not exist', async (method, url) => {
      const reply = await api.server.inject({ method, url });
      if (url.includes('%zz')) expect(reply.statusCode).toBe(400);
      else expect([reply.statusCode, reply.body]).toEqual([404, '404 page not found\n']);
    });

    it.each([
      ['POST', '/.executors/test/auth'],
      ['HEAD', '/.executors/test/auth'],
      ['GET', '/.executors/queue/dequeue'],
      ['PUT', '/.executors/queue/batches/markComplete'],
      ['DELETE', '/.executors/files/batch-changes/a/b'],
    ] as const)('%s %s is a wrong method', async (method, url) => {
      const reply = await api.server.inject({ method, url });
      expect([reply.statusCode, reply.body]).toEqual([405, '']);
    });

    it('redirects a trailing slash', async () => {
      const reply = await api.server.inject({ method: 'POST', url: '/.executors/queue/jobs/dequeue/?a=b' });
      expect([reply.statusCode, reply.headers.location]).toEqual([301, '/.executors/queue/jobs/dequeue?a=b']);
      const elsewhere = await api.server.inject({ method: 'GET', url: '//evil.example/queue/dequeue/' });
      expect(elsewhere.statusCode).toBe(404);
    });
  });

  it('logged no error', () => {
    expect(api.errors).toEqual([]);
  });
});
