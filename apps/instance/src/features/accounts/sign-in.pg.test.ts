import type { CreatedAccessToken, SessionView } from '@kiln/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type InstanceUnderTest,
  type Reply,
  startInstanceUnderTest,
  until,
} from '../../instance-under-test.ts';
import { deleteExpiredSignIns } from './sessions.ts';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest({ trustProxy: ['127.0.0.1'] });
  await site.call('POST', '/.api/users', { body: { name: 'Dora', password } });
  await site.call('POST', '/.api/users', { body: { name: 'nopassword' } });
});
afterAll(() => site?.[Symbol.asyncDispose]());
beforeEach(() => site.database.query('delete from sign_in_attempts'));

const password = 'correct horse battery staple';
const wrong = { status: 401, json: { error: { code: 'wrong_credentials' } } };
const tooMany = { status: 429, json: { error: { code: 'too_many_attempts' } } };

interface Attempt {
  name?: string;
  password?: string;
  from?: string;
  headers?: Record<string, string>;
}

function signIn({ name = 'dora', password: given = password, from = '192.0.2.1', headers }: Attempt = {}) {
  return site.call('POST', '/.api/session', {
    token: null,
    body: { name, password: given },
    headers: { 'x-forwarded-for': from, ...headers },
  });
}

function cookieOf(reply: Reply): string {
  return reply.headers.get('set-cookie')?.split(';')[0] ?? '';
}

function as(cookie: string, method: string, path: string, body?: unknown): Promise<Reply> {
  const headers = { cookie, 'sec-fetch-site': 'same-origin' };
  return site.call(method, path, { token: null, headers, ...(body === undefined ? {} : { body }) });
}

function overHttps(cookie: string): Promise<Reply> {
  return site.call('GET', '/.api/user', { token: null, headers: { cookie, 'x-forwarded-proto': 'https' } });
}

describe('signing in with a browser', () => {
  test('gives a cookie that scripts and other sites do not get, until it is given back', async () => {
    const reply = await signIn();
    expect(reply).toMatchObject({ status: 201, json: { name: 'Dora', siteAdmin: false, hasPassword: true } });
    expect(reply.headers.get('set-cookie')).toMatch(
      /^kiln_session=[0-9a-f]{64}; Max-Age=1209600; Path=\/; HttpOnly; SameSite=Lax$/,
    );
    const cookie = cookieOf(reply);
    expect((await as(cookie, 'GET', '/.api/user')).json).toMatchObject({ name: 'Dora' });
    const out = await as(cookie, 'DELETE', '/.api/session');
    expect(out.status).toBe(204);
    expect(out.headers.get('set-cookie')).toMatch(/^kiln_session=; Max-Age=0;/);
    expect((await as(cookie, 'GET', '/.api/user')).status).toBe(401);
  });

  test('over https gives one that never travels without it', async () => {
    const reply = await signIn({ headers: { 'x-forwarded-proto': 'https' } });
    expect(reply.headers.get('set-cookie')).toMatch(/^__Host-kiln_session=[^;]+;.*; Secure;/);
    expect((await overHttps(cookieOf(reply))).json).toMatchObject({ name: 'Dora' });
  });

  test('over https is not that of a cookie that another host of the domain could have set', async () => {
    const cookie = cookieOf(await signIn());
    expect((await as(cookie, 'GET', '/.api/user')).status).toBe(200);
    expect((await overHttps(cookie)).status).toBe(401);
    const own = cookieOf(await signIn({ headers: { 'x-forwarded-proto': 'https' } }));
    expect((await overHttps(`kiln_session=made-up; ${own}`)).status).toBe(200);
    const setting = '/.api/site-config/keys/externalURL';
    await site.call('PUT', setting, { body: { value: 'https://kiln.example.com' } });
    try {
      expect((await as(cookie, 'GET', '/.api/user')).status).toBe(401);
      expect((await as(own, 'GET', '/.api/user')).status).toBe(200);
    } finally {
      await site.call('DELETE', setting);
    }
  });

  test('is nothing that a page of another site can do', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' };
    expect(await signIn({ headers })).toMatchObject({
      status: 403,
      json: { error: { code: 'cross_origin' } },
    });
    expect((await signIn({ headers: { origin: site.instance.url } })).status).toBe(201);
  });

  test('keeps sessions as hashes, lists them, and ends any of them', async () => {
    await site.database.query('delete from sessions');
    const [one, two] = [cookieOf(await signIn()), cookieOf(await signIn())];
    const rows = await site.database.query<{ row: string }>(
      'select to_jsonb(s)::text as row from sessions s',
    );
    for (const { row } of rows) expect(row).not.toContain(one.split('=')[1]);
    const { sessions } = (await as(two, 'GET', '/.api/sessions')).json as { sessions: SessionView[] };
    expect(sessions.map(({ current }) => current)).toEqual([true, false]);
    expect((await as(two, 'DELETE', `/.api/sessions/${sessions[1]?.id}`)).status).toBe(204);
    expect((await as(one, 'GET', '/.api/user')).status).toBe(401);
    // The admin has sessions of their own only: here none.
    expect((await site.call('DELETE', `/.api/sessions/${sessions[0]?.id}`)).status).toBe(404);
    expect((await as(two, 'GET', '/.api/user')).status).toBe(200);
  });

  test('lasts for a while', async () => {
    const cookie = cookieOf(await signIn());
    await site.database.query('update sessions set expires_at = now()');
    expect(await as(cookie, 'GET', '/.api/user')).toMatchObject({
      status: 401,
      json: { error: { message: 'The session has expired' } },
    });
    expect(await deleteExpiredSignIns(site.database)).toBeGreaterThan(0);
    expect(await site.database.query('select from sessions')).toEqual([]);
  });
});

describe('a sign-in is refused', () => {
  test('alike for a wrong password, no user and a user without a password', async () => {
    const replies = [
      await signIn({ password: `${password}x` }),
      await signIn({ name: 'nobody' }),
      await signIn({ name: 'nopassword' }),
      await signIn({ name: 'nopassword', password: '' }),
      await signIn({ name: "dora' or true --" }),
    ];
    for (const reply of replies) expect(reply).toMatchObject(wrong);
    expect(new Set(replies.map(({ text }) => text)).size).toBe(1);
    expect(replies[0]?.headers.get('set-cookie')).toBeNull();
  });

  test('under a name that Postgres alone takes for that of a user: attempts with it are not counted as theirs', async () => {
    await site.call('POST', '/.api/users', { body: { name: 'kim', password } });
    // lower('İ') is 'i'; in JavaScript it is two characters.
    expect(await signIn({ name: 'kİm' })).toMatchObject(wrong);
    expect((await signIn({ name: 'KIM' })).status).toBe(201);
  });

  test('after too many attempts with a name from anywhere, also when the password is right', async () => {
    const attempts = Array.from({ length: 25 }, (_, index) =>
      signIn({ name: 'DORA', password: 'wrong', from: `192.0.2.${index}` }),
    );
    const statuses = (await Promise.all(attempts)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(20);
    expect(statuses.filter((status) => status === 429)).toHaveLength(5);
    const last = await signIn();
    expect(last).toMatchObject(tooMany);
    expect(Number(last.headers.get('retry-after'))).toBeGreaterThan(800);
    const byPassword = { name: 'dora', password, note: 'x' };
    expect(
      await site.call('POST', '/.api/access-tokens/by-password', { token: null, body: byPassword }),
    ).toMatchObject(tooMany);
    expect(await signIn({ name: 'nopassword' })).toMatchObject(wrong);

    await site.database.query('update sign_in_attempts set window_ends_at = now()');
    expect((await signIn()).status).toBe(201);
  });

  test('after too many attempts from a network, whatever the names', async () => {
    const attempts = Array.from({ length: 65 }, (_, index) =>
      signIn({ name: `guess${index}`, from: `2001:db8::${index}` }),
    );
    const statuses = (await Promise.all(attempts)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 429)).toHaveLength(5);
    expect(await signIn({ from: '2001:db8::abcd' })).toMatchObject(tooMany);
    expect((await signIn({ from: '2001:db8:1::1' })).status).toBe(201);
  });

  test('not for somebody who signs in often', async () => {
    for (let round = 0; round < 30; round++) expect((await signIn()).status).toBe(201);
  });
});

describe('a sign-in that began before a new password', () => {
  const change = { currentPassword: password, password: 'another horse battery' };
  test.each<[string, (token: string) => Promise<Reply>]>([
    ['gets no session', () => signIn({ name: 'emil' })],
    [
      'gets no access token',
      () =>
        site.call('POST', '/.api/access-tokens/by-password', {
          token: null,
          body: { name: 'emil', password, note: 'late' },
        }),
    ],
    ['sets no password', (token) => site.call('PUT', '/.api/users/emil/password', { token, body: change })],
  ])('%s', async (_, begin) => {
    await site.call('POST', '/.api/users', { body: { name: 'emil', password } });
    const body = { name: 'emil', password, note: 'before' };
    const login = await site.call('POST', '/.api/access-tokens/by-password', { token: null, body });
    const { late } = await site.database.transaction(async (transaction) => {
      await transaction.query(
        `update users set password_hash = other.password_hash
         from users other join namespaces n on n.id = other.namespace_id
         where n.name = 'Dora' and users.namespace_id = (select id from namespaces where name = 'emil')`,
      );
      const reply = begin((login.json as CreatedAccessToken).token);
      // It has compared the password with the old one, and waits for the new one.
      await until(async () => {
        const waiting = await site.database.query(
          `select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
        );
        return waiting.length === 1;
      });
      return { late: reply };
    });
    expect(await late).toMatchObject(wrong);
    const kept = await site.database.query<{ note: string }>(
      `select note from access_tokens where note = 'late' union all select 'session' from sessions s
       join users on users.id = s.user_id join namespaces n on n.id = users.namespace_id where n.name = 'emil'`,
    );
    expect(kept).toEqual([]);
    // The new one is Dora's.
    expect((await signIn({ name: 'emil' })).status).toBe(201);
    await site.call('DELETE', '/.api/users/emil');
  });
});

describe('access tokens', () => {
  test('are made by name and password, listed without themselves, and revoked', async () => {
    const made = await site.call('POST', '/.api/access-tokens/by-password', {
      token: null,
      body: { name: 'dora', password, note: 'laptop', expiresInDays: 90 },
    });
    const { token, user, accessToken } = made.json as CreatedAccessToken;
    expect({ status: made.status, user }).toEqual({ status: 201, user: 'Dora' });
    expect(accessToken).toMatchObject({ note: 'laptop', scope: 'all', lastUsedAt: null });
    const days = (Date.parse(accessToken.expiresAt ?? '') - Date.now()) / 86_400_000;
    expect(Math.round(days)).toBe(90);

    const list = await site.call('GET', '/.api/access-tokens', { token });
    expect(list.json).toMatchObject({ accessTokens: [{ id: accessToken.id, note: 'laptop' }] });
    expect(list.text).not.toContain(token.slice(5));
    expect((await site.call('DELETE', `/.api/access-tokens/${accessToken.id}`, { token })).status).toBe(204);
    expect((await site.call('GET', '/.api/jobs', { token })).status).toBe(401);
  });

  test('of others are revoked by site admins alone', async () => {
    const make = async (token: string) =>
      (await site.call('POST', '/.api/access-tokens', { token, body: { note: 'x' } }))
        .json as CreatedAccessToken;
    const byPassword = { name: 'dora', password, note: 'x' };
    const login = await site.call('POST', '/.api/access-tokens/by-password', {
      token: null,
      body: byPassword,
    });
    const { token, accessToken } = login.json as CreatedAccessToken;
    const ofDora = '/.api/access-tokens?user=Dora';
    expect((await site.call('GET', ofDora)).json).toMatchObject({ accessTokens: [{ id: accessToken.id }] });
    expect((await site.call('GET', ofDora, { token })).status).toBe(200);
    expect(await site.call('GET', '/.api/access-tokens?user=admin', { token })).toMatchObject({
      status: 404,
      json: { error: { code: 'unknown_user' } },
    });
    const ofAdmin = await make(site.adminToken);
    expect(
      await site.call('DELETE', `/.api/access-tokens/${ofAdmin.accessToken.id}`, { token }),
    ).toMatchObject({ status: 404, json: { error: { code: 'unknown_token' } } });
    expect((await site.call('GET', '/.api/user', { token: ofAdmin.token })).status).toBe(200);
    expect((await site.call('DELETE', `/.api/access-tokens/${accessToken.id}`)).status).toBe(204);
    expect((await site.call('GET', '/.api/user', { token })).status).toBe(401);
  });

  test.each([
    [{ note: '' }],
    [{ note: 'two\nlines' }],
    [{ note: 'x', scope: 'everything' }],
    [{ note: 'x', expiresInDays: 0 }],
    [{ note: 'x', siteAdmin: true }],
  ])('are refused: %j', async (body) => {
    expect(await site.call('POST', '/.api/access-tokens', { body })).toMatchObject({ status: 400 });
  });
});

test('no password, token or cookie is in the log', async () => {
  await signIn();
  await signIn({ password: 'hunter2 hunter2' });
  const logged = JSON.stringify(site.logLines);
  expect(logged).toContain('a user signed in');
  for (const secret of [password, 'hunter2', 'kiln_session', '$argon2id$'])
    expect(logged).not.toContain(secret);
});
