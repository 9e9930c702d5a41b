import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSession } from './features/accounts/sessions.ts';
import { addUser, type InstanceUnderTest, startInstanceUnderTest } from './instance-under-test.ts';

/**
 * Who may use an operation at all: `read` and `jobs` are also for access tokens of these scopes, `account` for every
 * user with a whole token or a session. What is not listed is for site admins, so a forgotten route fails here
 * unless it is closed to everybody else.
 */
const operations: Record<string, 'public' | 'read' | 'jobs' | 'account'> = {
  'GET /.api/jobs': 'read',
  'POST /.api/jobs': 'jobs',
  'GET /.api/jobs/{id}': 'read',
  'POST /.api/jobs/{id}/cancel': 'jobs',
  'POST /.api/jobs/{id}/retry': 'jobs',
  'GET /.api/jobs/{id}/log': 'read',
  'GET /.api/jobs/{id}/logEntries/{entry}/output': 'read',
  'GET /.api/repositories': 'read',
  'GET /.api/repositories/{name}': 'read',
  'POST /.api/repositories/{name}/sync': 'jobs',
  'POST /.api/session': 'public',
  'DELETE /.api/session': 'account',
  'GET /.api/sessions': 'account',
  'DELETE /.api/sessions/{id}': 'account',
  'GET /.api/access-tokens': 'account',
  'POST /.api/access-tokens': 'account',
  'POST /.api/access-tokens/by-password': 'public',
  'DELETE /.api/access-tokens/{id}': 'account',
  'GET /.api/user': 'account',
  'PUT /.api/users/{name}/password': 'account',
  'GET /.api/organizations': 'account',
  'GET /.api/organizations/{name}': 'account',
  'PUT /.api/organizations/{name}/members/{user}': 'account',
  'DELETE /.api/organizations/{name}/members/{user}': 'account',
};

type Operation = {
  method: string;
  path: string;
  needs: 'public' | 'read' | 'jobs' | 'account' | 'site admin';
};
/** What is sent, and what it opens. */
interface Caller {
  headers(): Promise<Record<string, string>> | Record<string, string>;
  opens: readonly Operation['needs'][];
  refused: 401 | 403;
}

let site: InstanceUnderTest;
const callers: Record<string, Caller> = {};

beforeAll(async () => {
  site = await startInstanceUnderTest();
  const user = await addUser(site, 'dora');
  const [{ id: userId = 0 } = {}] = await site.database.query<{ id: number }>(
    `select users.id from users join namespaces on namespaces.id = namespace_id where name = 'dora'`,
  );
  const shown = await site.call('GET', '/.api/site-config/executor-token');
  const { accessToken: executorSecret } = shown.json as { accessToken: string };
  await site.submit({ steps: [{ image: 'a', run: 'b' }] });
  const { document } = await site.executor.dequeue();

  const nothing = { opens: ['public'], refused: 401 } as const;
  const everything = ['public', 'read', 'jobs', 'account'] as const;
  const token = (text: string) => () => ({ authorization: `token ${text}` });
  const scoped = async (scope: string, by: string) => {
    const made = await site.call('POST', '/.api/access-tokens', { token: by, body: { note: scope, scope } });
    return token((made.json as { token: string }).token);
  };
  const session = async (more: Record<string, string>) => ({
    cookie: `kiln_session=${await createSession(site.database, { id: userId, name: 'dora' })}`,
    ...more,
  });
  Object.assign(callers, {
    visitor: { headers: () => ({}), ...nothing },
    'somebody with a made-up token': { headers: token(`kiln_${'0'.repeat(64)}`), ...nothing },
    'somebody with a made-up session': {
      headers: () => ({
        cookie: `kiln_session=${randomBytes(32).toString('hex')}`,
        'sec-fetch-site': 'same-origin',
      }),
      ...nothing,
    },
    'an executor': { headers: () => ({ authorization: `token-executor ${executorSecret}` }), ...nothing },
    'an executor that plays a user': { headers: token(executorSecret), ...nothing },
    'a job': { headers: () => ({ authorization: `Bearer ${document?.token}` }), ...nothing },
    'a token to read': { headers: await scoped('read', user), opens: ['public', 'read'], refused: 403 },
    'a token for jobs': {
      headers: await scoped('jobs', user),
      opens: ['public', 'read', 'jobs'],
      refused: 403,
    },
    "a site admin's token for jobs": {
      headers: await scoped('jobs', site.adminToken),
      opens: ['public', 'read', 'jobs'],
      refused: 403,
    },
    user: { headers: token(user), opens: everything, refused: 403 },
    'a session': {
      headers: () => session({ 'sec-fetch-site': 'same-origin' }),
      opens: everything,
      refused: 403,
    },
    'the site admin': { headers: token(site.adminToken), opens: [...everything, 'site admin'], refused: 403 },
  } satisfies Record<string, Caller>);
});
afterAll(() => site?.[Symbol.asyncDispose]());

async function allOperations(): Promise<Operation[]> {
  const { paths } = (await site.call('GET', '/.api/openapi.json')).json as { paths: Record<string, object> };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((name) => {
      const method = name.toUpperCase();
      return { method, path, needs: operations[`${method} ${path}`] ?? 'site admin' } as const;
    }),
  );
}

/** With names of nothing and an empty body: whoever is let in is told so, and changes nothing. */
async function attempt({ method, path }: Operation, headers: Record<string, string>) {
  const values: Record<string, string> = { id: '999999999', entry: '1', scope: 'JOBS', key: 'NOTHING' };
  const reply = await site.call(
    method,
    path.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? 'nothing'),
    { token: null, headers, ...(method === 'GET' || method === 'DELETE' ? {} : { body: {} }) },
  );
  return {
    status: reply.status,
    code: (reply.json as { error?: { code: string } } | undefined)?.error?.code,
  };
}

describe('every operation', () => {
  test('that is listed here exists', async () => {
    const known = (await allOperations()).map(({ method, path }) => `${method} ${path}`);
    expect(known).toEqual(expect.arrayContaining(Object.keys(operations)));
    expect(known.length).toBeGreaterThan(Object.keys(operations).length + 5);
  });

  test('is open to whom it is for, and to nobody else', async () => {
    const wrong: string[] = [];
    for (const operation of await allOperations()) {
      for (const [name, caller] of Object.entries(callers)) {
        const { status, code } = await attempt(operation, await caller.headers());
        const isOpen = caller.opens.includes(operation.needs);
        // The names that are asked for do not exist, and the password of nobody is not set: that much it was let in.
        const letIn = status !== 401 && status !== 403;
        if (letIn === isOpen && (isOpen || status === caller.refused) && status < 500) continue;
        wrong.push(`${operation.method} ${operation.path} by ${name}: ${status} ${code}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test.each<[string, Record<string, string>]>([
    ['another site', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }],
    ['another host of the same domain', { 'sec-fetch-site': 'same-site' }],
    ['another site, by an old browser', { origin: 'https://evil.example' }],
    ['a page without an origin', { origin: 'null' }],
    ['who knows where', {}],
  ])('that changes something is refused to a session when %s asks', async (_, headers) => {
    const cookie = (await callers['a session']?.headers())?.['cookie'] ?? '';
    for (const operation of await allOperations()) {
      if (operation.needs === 'public') continue;
      const { status, code } = await attempt(operation, { cookie, ...headers });
      if (operation.method === 'GET') expect(code).not.toBe('cross_origin');
      else
        expect({ ...operation, status, code }).toEqual({ ...operation, status: 403, code: 'cross_origin' });
    }
  });

  test('is open to a session when a page of the instance asks, by an old browser too', async () => {
    const cookie = (await callers['a session']?.headers())?.['cookie'] ?? '';
    const origin = site.instance.url;
    const operation = { method: 'POST', path: '/.api/jobs', needs: 'jobs' } as const;
    expect(await attempt(operation, { cookie, origin })).toEqual({ status: 400, code: 'invalid_request' });
  });
});
