import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { composeInstance } from './compose.ts';
import { addUser, type InstanceUnderTest, startInstanceUnderTest, until } from './instance-under-test.ts';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest();
});
afterAll(() => site[Symbol.asyncDispose]());

describe('an instance', () => {
  test('says that it is alive, ready, and which src goes with it, without a token', async () => {
    const token = null;
    expect(await site.call('GET', '/healthz', { token })).toMatchObject({
      status: 200,
      json: { status: 'ok' },
    });
    expect(await site.call('GET', '/readyz', { token })).toMatchObject({
      status: 200,
      json: { status: 'ready' },
    });
    expect(await site.call('GET', '/.api/src-cli/version', { token })).toMatchObject({
      status: 200,
      json: { version: '6.10.0' },
    });
  });

  test('refuses unknown paths and methods in the form of the API', async () => {
    expect(await site.call('GET', '/.api/nope')).toMatchObject({
      status: 404,
      json: { error: { code: 'not_found', message: 'There is nothing at /.api/nope' } },
    });
    const wrongMethod = await site.call('DELETE', '/.api/jobs/1?x=1');
    expect(wrongMethod).toMatchObject({ status: 405, json: { error: { code: 'method_not_allowed' } } });
    expect(wrongMethod.headers.get('allow')).toBe('GET, HEAD');
    expect(await site.call('GET', '/nope')).toMatchObject({ status: 404, text: '404 page not found\n' });
    expect(await site.call('GET', '/.api/%zz')).toMatchObject({ status: 400, json: { error: {} } });
  });

  test('names each request, and keeps browsers from doing anything with a reply', async () => {
    const { headers } = await site.call('GET', '/.api/jobs');
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(Object.fromEntries(headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      'content-security-policy': expect.stringContaining("default-src 'none'"),
      'keep-alive': 'timeout=100',
    });
  });

  test('describes its API', async () => {
    const reply = await site.call('GET', '/.api/openapi.json', { token: null });
    expect(reply.status).toBe(200);
    await expect(JSON.stringify(reply.json, undefined, 2)).toMatchFileSnapshot(
      '../../../docs/reference/openapi.json',
    );
  });

  test('makes the first admin, whose token only its owner can read, once', async () => {
    const path = join(site.directory, 'admin-token');
    expect(site.adminToken).toMatch(/^kiln_[0-9a-f]{64}$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(site.directory)).mode & 0o077).toBe(0);
    const stored = await site.database.query<{ token_sha256: Buffer }>('select * from access_tokens');
    expect(stored).toHaveLength(1);
    expect(JSON.stringify(stored)).not.toContain(site.adminToken.slice(5));
  });

  test('shows the shared secret of executors to site admins', async () => {
    const reply = await site.call('GET', '/.api/site-config/executor-token');
    expect(reply).toMatchObject({ status: 200, json: { externalURL: null } });
    const { accessToken } = reply.json as { accessToken: string };
    expect(accessToken).toMatch(/^[0-9a-f]{64}$/);
  });

  test('never logs a credential', async () => {
    await site.call('GET', '/.api/jobs');
    await site.call('GET', '/.api/jobs', { headers: { authorization: 'Bearer kiln_wrong-but-secret' } });
    const token = await site.call('GET', '/.api/site-config/executor-token');
    const secret = (token.json as { accessToken: string }).accessToken;
    const logged = JSON.stringify(site.logLines);
    expect(site.logLines.some((line) => line['msg'] === 'answered' && line['path'] === '/.api/jobs')).toBe(
      true,
    );
    expect(logged).not.toContain(site.adminToken);
    expect(logged).not.toContain('wrong-but-secret');
    expect(logged).not.toContain(secret);
  });
});

describe('metrics', () => {
  test('are there for peers on this machine, and through a proxy for site admins', async () => {
    const local = await site.call('GET', '/metrics', { token: null });
    expect(local.status).toBe(200);
    expect(local.text).toContain('kiln_queue_jobs{queue="jobs",state="waiting"} 0');
    expect(local.text).toContain('kiln_leftovers{kind="submitted_files"} 0');
    const headers = { 'x-forwarded-for': '203.0.113.9' };
    expect((await site.call('GET', '/metrics', { token: null, headers })).status).toBe(401);
    expect((await site.call('GET', '/metrics', { headers })).status).toBe(200);
  });

  test('have an address of their own where one is set', async () => {
    const port = await freePort();
    await using other = await startInstanceUnderTest({ metricsListen: { host: '127.0.0.1', port } });
    const reply = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(await reply.text()).toContain('kiln_http_request_seconds');
    expect((await fetch(`http://127.0.0.1:${port}/.api/jobs`)).status).toBe(404);
    expect((await other.call('GET', '/healthz')).status).toBe(200);
  });
});

describe('a database that is away', () => {
  test('makes the instance not ready and its answers 503, until it is back', async () => {
    await using other = await startInstanceUnderTest();
    // The host is a directory, given as a parameter.
    const { pathname, searchParams, username } = new URL(other.databaseURL.replace('@/', '@socket/'));
    const name = pathname.slice(1);
    const administer = new pg.Client({
      host: searchParams.get('host') ?? '',
      port: Number(searchParams.get('port')),
      user: username,
      database: 'postgres',
    });
    await administer.connect();
    try {
      await administer.query(`alter database ${name} with allow_connections false`);
      await administer.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
        name,
      ]);
      const ready = await until(async () => {
        const reply = await other.call('GET', '/readyz');
        return reply.status === 503 && reply;
      });
      expect(ready.json).toEqual({ status: 'not ready', reason: expect.stringContaining('database') });
      expect((await other.call('GET', '/healthz')).status).toBe(200);
      const refused = await other.call('GET', '/.api/jobs');
      expect(refused).toMatchObject({ status: 503, json: { error: { code: 'unavailable' } } });
      expect(refused.headers.get('retry-after')).toBe('1');
    } finally {
      await administer.query(`alter database ${name} with allow_connections true`);
      await administer.end();
    }
    await until(async () => (await other.call('GET', '/readyz')).status === 200);
    expect((await other.call('GET', '/.api/jobs')).status).toBe(200);
  });
});

describe('a trusted proxy', () => {
  test('says where a request comes from, nobody else', async () => {
    const peerOf = async (on: InstanceUnderTest) => {
      await on.call('GET', '/healthz', { headers: { 'x-forwarded-for': '203.0.113.9' } });
      return until(async () => on.logLines.find((line) => line['path'] === '/healthz')?.['peer']);
    };
    await using trusting = await startInstanceUnderTest({ trustProxy: 1 });
    expect(await peerOf(trusting)).toBe('203.0.113.9');
    await using other = await startInstanceUnderTest({ trustProxy: ['10.0.0.0/8'] });
    expect(await peerOf(other)).toBe('127.0.0.1');
  });
});

describe('access tokens', () => {
  test.each<[string, Record<string, string>, number]>([
    ['token X', { authorization: 'token {}' }, 200],
    ['Bearer X', { authorization: 'Bearer {}' }, 200],
    ['in any case', { authorization: 'bearer {}' }, 200],
    ['none', {}, 401],
    ['another scheme', { authorization: 'Basic {}' }, 401],
    ['the executors scheme', { authorization: 'token-executor {}' }, 401],
    ['a wrong token', { authorization: `token kiln_${'0'.repeat(64)}` }, 401],
    ['no token', { authorization: 'token ' }, 401],
    ['something after it', { authorization: 'token {} x' }, 401],
  ])('%s', async (_, headers, status) => {
    const sent = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, value.replace('{}', site.adminToken)]),
    );
    const reply = await site.call('GET', '/.api/jobs', { token: null, headers: sent });
    expect(reply.status).toBe(status);
    if (status !== 401) return;
    expect(reply.headers.get('www-authenticate')).toBe('Bearer realm="kiln"');
    expect(reply.json).toMatchObject({
      error: { code: 'unauthenticated', hint: expect.stringContaining('admin-token') },
    });
  });

  test('expire, and note when they were used', async () => {
    await site.call('GET', '/.api/jobs');
    const used = await until(async () => {
      const [row] = await site.database.query<{ last_used_at: Date | null }>(
        'select last_used_at from access_tokens',
      );
      return row?.last_used_at ?? undefined;
    });
    expect(Math.abs(Date.now() - used.getTime())).toBeLessThan(60_000);
    await site.database.query(`update access_tokens set expires_at = now()`);
    expect(await site.call('GET', '/.api/jobs')).toMatchObject({
      status: 401,
      json: { error: { message: 'The access token has expired' } },
    });
    await site.database.query(`update access_tokens set expires_at = now() + interval '1 hour'`);
    expect((await site.call('GET', '/.api/jobs')).status).toBe(200);
  });

  test('of others than site admins open less', async () => {
    const token = await addUser(site, 'berta');
    const refused = { status: 403, json: { error: { code: 'forbidden', hint: expect.any(String) } } };
    expect(await site.call('GET', '/.api/site-config/executor-token', { token })).toMatchObject(refused);
    expect(
      await site.call('POST', '/.api/repositories', { token, body: { name: 'a', cloneURL: 'b' } }),
    ).toMatchObject(refused);
    expect((await site.call('GET', '/.api/jobs', { token })).json).toEqual({ jobs: [], nextCursor: null });
  });
});

describe('starting and stopping', () => {
  test('listens on IPv6', async () => {
    await using other = await startInstanceUnderTest({ listen: { host: '::1', port: 0 } });
    expect(other.instance.url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await other.call('GET', '/healthz')).status).toBe(200);
  });

  test('a stopping instance answers held requests and ends followed logs at once', async () => {
    await using other = await startInstanceUnderTest();
    const job = await other.submit({ steps: [{ image: 'a', run: 'b' }], queue: 'batches' });
    const held = other.executor.dequeue({ extensions: ['long-poll'], waitSeconds: 30 });
    const followed = other.call('GET', `/.api/jobs/${job.id}/log?follow=1`);
    const events = other.call('GET', `/.api/jobs/${job.id}/log`, {
      headers: { accept: 'text/event-stream' },
    });
    await until(async () => other.logLines.filter((line) => line['msg'] === 'answered').length >= 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const started = performance.now();
    await other.instance[Symbol.asyncDispose]();
    expect(performance.now() - started).toBeLessThan(4000);
    expect((await held).status).toBe(204);
    expect((await followed).status).toBe(200);
    expect((await events).text).toContain('event: job');
    await expect(other.call('GET', '/healthz')).rejects.toThrow();
  });

  test('a second instance on the same data directory is refused, and told why', {
    timeout: 120_000,
  }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kiln-embedded-'));
    const options = { dataDirectory: directory, listen: { host: '127.0.0.1', port: 0 }, logLevel: 'silent' };
    // The embedded database this time. Another process: the holder's own process is not known to be another instance.
    const program = `const { startInstance } = await import(${JSON.stringify(import.meta.resolve('./index.ts'))});
      await startInstance(${JSON.stringify(options)}).catch((error) => process.stdout.write(error.message));`;
    try {
      await using first = await composeInstance(options);
      const { stdout } = await promisify(execFile)(process.execPath, [
        '--input-type=module',
        '--eval',
        program,
      ]);
      expect(stdout).toMatch(/Another instance \(process \d+ .*\) is using the data directory/);
      expect((await fetch(`${first.url}/readyz`)).status).toBe(200);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test('with a database of its own, the data directory and the database belong together', async () => {
    const shared = {
      databaseURL: site.databaseURL,
      listen: { host: '127.0.0.1', port: 0 },
      logLevel: 'silent',
    };
    await expect(composeInstance({ ...shared, dataDirectory: site.directory })).rejects.toThrow(
      /KILN_DATA_DIR: another instance is using the data directory/,
    );
    const other = await mkdtemp(join(tmpdir(), 'kiln-other-'));
    try {
      await expect(composeInstance({ ...shared, dataDirectory: other })).rejects.toThrow(
        /KILN_BLOB_DIR: the database keeps its logs and files in another directory/,
      );
    } finally {
      await rm(other, { recursive: true, force: true });
    }
    expect((await site.call('GET', '/readyz')).status).toBe(200);
  });

  test('a second instance on the database has an access token beside it too, once', async () => {
    await using first = await startInstanceUnderTest();
    const directory = await mkdtemp(join(tmpdir(), 'kiln-second-'));
    const path = join(directory, 'admin-token');
    const lines: string[] = [];
    const start = () =>
      composeInstance({
        dataDirectory: directory,
        databaseURL: first.databaseURL,
        blobDirectory: join(first.directory, 'blobs'),
        secretKeyFile: join(first.directory, 'secret-key'),
        listen: { host: '127.0.0.1', port: 0 },
        log: pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }),
      });
    try {
      {
        await using second = await start();
        const token = (await readFile(path, 'utf8')).trim();
        expect(token).toMatch(/^kiln_[0-9a-f]{64}$/);
        expect(token).not.toBe(first.adminToken);
        expect((await stat(path)).mode & 0o777).toBe(0o600);
        for (const url of [second.url, first.instance.url]) {
          const reply = await fetch(`${url}/.api/site-config/executor-token`, {
            headers: { authorization: `token ${token}` },
          });
          expect(reply.status).toBe(200);
        }
        expect(lines).toEqual([]);
      }
      // Somebody put it into a safe place: it does not come back.
      await rm(path);
      await using _again = await start();
      await expect(stat(path)).rejects.toThrow('ENOENT');
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
    expect((await first.call('GET', '/.api/jobs')).status).toBe(200);
  });

  test('starts again on what it left', async () => {
    await using other = await startInstanceUnderTest();
    const job = await other.submit({ steps: [{ image: 'a', run: 'b' }] });
    await other.instance[Symbol.asyncDispose]();
    await using again = await composeInstance({
      dataDirectory: other.directory,
      databaseURL: other.databaseURL,
      listen: { host: '127.0.0.1', port: 0 },
      logLevel: 'silent',
    });
    const token = (await readFile(join(other.directory, 'admin-token'), 'utf8')).trim();
    expect(token).toBe(other.adminToken);
    const reply = await fetch(`${again.url}/.api/jobs/${job.id}`, {
      headers: { authorization: `token ${token}` },
    });
    expect(await reply.json()).toMatchObject({ id: job.id, state: 'queued' });
  });

  test('an address in use is told, and leaves nothing running', async () => {
    const port = Number(new URL(site.instance.url).port);
    await expect(startInstanceUnderTest({ listen: { host: '127.0.0.1', port } })).rejects.toThrow(
      'EADDRINUSE',
    );
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
