import type { CreatedAccessToken, JobView, SecretUseList, UserView } from '@kiln/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type InstanceUnderTest, startInstanceUnderTest, until } from '../../instance-under-test.ts';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest();
});
afterAll(() => site?.[Symbol.asyncDispose]());
beforeEach(() => site.database.query('delete from sign_in_attempts'));

const password = 'correct horse battery staple';

async function make(name: string, more: Record<string, unknown> = {}): Promise<string> {
  const made = await site.call('POST', '/.api/users', { body: { name, password, ...more } });
  if (made.status !== 201) throw new Error(made.text);
  return tokenOf(name, password);
}

async function tokenOf(name: string, secret: string): Promise<string> {
  const body = { name, password: secret, note: 'test' };
  const login = await site.call('POST', '/.api/access-tokens/by-password', { token: null, body });
  if (login.status !== 201) throw new Error(login.text);
  return (login.json as CreatedAccessToken).token;
}

const setPassword = (name: string, body: object, token: string) =>
  site.call('PUT', `/.api/users/${name}/password`, { body, token });

/** Until so many statements wait for a lock. */
async function lockWaits(count: number): Promise<void> {
  await until(async () => {
    const waiting = await site.database.query(
      `select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
    );
    return waiting.length === count;
  });
}

describe('users', () => {
  test('are made by site admins and listed by name, without their passwords', async () => {
    const made = await site.call('POST', '/.api/users', { body: { name: 'Zoe', password, siteAdmin: true } });
    expect(made).toMatchObject({ status: 201, json: { name: 'Zoe', siteAdmin: true, hasPassword: true } });
    await make('berta');
    const list = await site.call('GET', '/.api/users');
    expect((list.json as { users: UserView[] }).users).toMatchObject([
      { name: 'admin', siteAdmin: true, hasPassword: false },
      { name: 'berta', siteAdmin: false },
      { name: 'Zoe', siteAdmin: true },
    ]);
    expect(list.text).not.toContain('argon2');
  });

  test.each([
    ['ADMIN', 409, 'name_taken'],
    ['', 400, 'invalid_request'],
    ['a b', 400, 'invalid_request'],
    ['../x', 400, 'invalid_request'],
    ['-x', 400, 'invalid_request'],
    ['a..b', 400, 'invalid_request'],
    ['é', 400, 'invalid_request'],
    ['x'.repeat(40), 400, 'invalid_request'],
  ])('with the name %j are refused', async (name, status, code) => {
    expect(await site.call('POST', '/.api/users', { body: { name } })).toMatchObject({
      status,
      json: { error: { code } },
    });
  });

  test.each(['short', 'x'.repeat(257), '\ud800xxxxxxxxxxxx'])(
    'with the password %.10j are refused, and it is not quoted',
    async (bad) => {
      const reply = await site.call('POST', '/.api/users', { body: { name: 'nobody', password: bad } });
      expect(reply.status).toBe(400);
      expect(reply.text).not.toContain(bad);
    },
  );
});

describe('a site admin', () => {
  test('is made by another, and is one at once, until it is not', async () => {
    const token = await make('ida');
    const set = (name: string, siteAdmin: boolean) =>
      site.call('PUT', `/.api/users/${name}/site-admin`, { body: { siteAdmin } });
    expect((await site.call('GET', '/.api/users', { token })).status).toBe(403);
    expect((await set('ida', true)).status).toBe(204);
    expect((await site.call('GET', '/.api/users', { token })).status).toBe(200);
    expect((await set('Ida', false)).status).toBe(204);
    expect((await site.call('GET', '/.api/users', { token })).status).toBe(403);
    expect((await set('nobody', true)).status).toBe(404);
  });

  test('is always there', async () => {
    const admins = `select name from users join namespaces on namespaces.id = namespace_id where site_admin`;
    for (const { name } of await site.database.query<{ name: string }>(admins)) {
      if (name !== 'admin') await site.call('DELETE', `/.api/users/${name}`);
    }
    const body = { siteAdmin: false };
    expect(await site.call('PUT', '/.api/users/admin/site-admin', { body })).toMatchObject({
      status: 409,
      json: { error: { code: 'last_site_admin' } },
    });
  });
});

describe('a password', () => {
  test('is changed by its user, who knows the old one, which ends all sessions', async () => {
    const token = await make('carl');
    const session = await site.call('POST', '/.api/session', {
      token: null,
      body: { name: 'carl', password },
    });
    const headers = { cookie: session.headers.get('set-cookie')?.split(';')[0] ?? '' };
    const next = 'another horse battery';
    for (const currentPassword of [undefined, 'wrong horse', next]) {
      expect(await setPassword('carl', { password: next, currentPassword }, token)).toMatchObject({
        status: 401,
        json: { error: { code: 'wrong_credentials' } },
      });
    }
    expect((await site.call('GET', '/.api/user', { token: null, headers })).status).toBe(200);
    const change = { password: next, currentPassword: password };
    expect((await setPassword('carl', change, token)).status).toBe(204);
    expect((await site.call('GET', '/.api/user', { token: null, headers })).status).toBe(401);
    await expect(tokenOf('carl', password)).rejects.toThrow('wrong_credentials');
    await expect(tokenOf('carl', next)).resolves.toMatch(/^kiln_/);
  });

  test('is set by a site admin without it, and by no other user', async () => {
    const token = await make('dirk');
    await make('emil');
    expect((await setPassword('emil', { password: 'stolen horse battery' }, token)).status).toBe(404);
    expect((await setPassword('emil', { password: 'new horse battery' }, site.adminToken)).status).toBe(204);
    await expect(tokenOf('emil', 'new horse battery')).resolves.toMatch(/^kiln_/);
  });
});

describe('deleting a user', () => {
  test('takes what they can come in with, cancels their jobs, and leaves what happened without a name', async () => {
    const token = await make('fritz');
    await site.call('PUT', '/.api/secrets/JOBS/TOKEN', { body: { value: 'hunter2-token' } });
    const submit = async (body: object) =>
      (await site.call('POST', '/.api/jobs', { token, body })).json as JobView;
    const steps = [{ image: 'a', run: 'b' }];
    const done = await submit({ steps, secrets: ['TOKEN'] });
    const { document } = await site.executor.dequeue();
    if (document?.id !== done.id) throw new Error('another job was claimed');
    await site.executor.post('markComplete', document, {});
    const waiting = await submit({ steps, queue: 'batches' });
    const usesOf = async () => ((await site.call('GET', '/.api/secret-uses')).json as SecretUseList).uses;
    expect(await usesOf()).toMatchObject([{ jobId: done.id, user: 'fritz' }]);
    // Names are shown before, so that one that is remembered would be found out.
    expect((await site.call('GET', `/.api/jobs/${done.id}`)).json).toMatchObject({ namespace: 'fritz' });

    expect((await site.call('DELETE', '/.api/users/Fritz')).status).toBe(204);

    expect((await site.call('GET', '/.api/user', { token })).status).toBe(401);
    await expect(tokenOf('fritz', password)).rejects.toThrow('wrong_credentials');
    const namespace = expect.stringMatching(/^#\d+$/);
    expect((await site.call('GET', `/.api/jobs/${done.id}`)).json).toMatchObject({
      state: 'completed',
      namespace,
    });
    expect((await site.call('GET', `/.api/jobs/${waiting.id}`)).json).toMatchObject({
      state: 'canceled',
      namespace,
    });
    expect(await usesOf()).toMatchObject([{ jobId: done.id, user: null }]);
    for (const table of ['namespaces', 'users', 'access_tokens', 'submitted_jobs', 'executor_secret_uses']) {
      const rows = await site.database.query<{ row: string }>(
        `select to_jsonb(t)::text as row from ${table} t`,
      );
      expect(JSON.stringify(rows)).not.toContain('fritz');
    }
    expect((await site.call('DELETE', '/.api/users/fritz')).status).toBe(404);
  });

  test('shuts them out first, however long the rest takes', async () => {
    const token = await make('hugo');
    const session = await site.call('POST', '/.api/session', {
      token: null,
      body: { name: 'hugo', password },
    });
    const headers = { cookie: session.headers.get('set-cookie')?.split(';')[0] ?? '' };
    const body = { steps: [{ image: 'a', run: 'b' }] };
    const { id } = (await site.call('POST', '/.api/jobs', { token, body })).json as JobView;
    const { deleting } = await site.database.transaction(async (transaction) => {
      // Stands for years of jobs: deleting the user cannot end while this row is held.
      await transaction.query('select from submitted_jobs where job_id = $1 for no key update', [id]);
      const reply = site.call('DELETE', '/.api/users/hugo');
      await until(async () => (await site.call('GET', '/.api/user', { token })).status === 401);
      expect((await site.call('GET', '/.api/user', { token: null, headers })).status).toBe(401);
      await expect(tokenOf('hugo', password)).rejects.toThrow('wrong_credentials');
      return { deleting: reply };
    });
    expect((await deleting).status).toBe(204);
    expect(await site.database.query('select from submitted_jobs where job_id = $1', [id])).toHaveLength(1);
  });

  test('is refused while they are the only admin of an organization', async () => {
    const token = await make('ines');
    await make('jan');
    for (const name of ['Tools', 'acme']) {
      await site.call('POST', '/.api/organizations', { body: { name, admin: 'ines' } });
    }
    const setMember = (organization: string, role: string) =>
      site.call('PUT', `/.api/organizations/${organization}/members/jan`, { body: { role } });
    await setMember('acme', 'member');
    await setMember('tools', 'admin');
    const refused = await site.call('DELETE', '/.api/users/ines');
    expect(refused).toMatchObject({
      status: 409,
      json: { error: { code: 'last_organization_admin', message: '"ines" is the only admin of "acme"' } },
    });
    expect((await site.call('GET', '/.api/user', { token })).status).toBe(200);
    await setMember('acme', 'admin');
    expect((await site.call('DELETE', '/.api/users/ines')).status).toBe(204);
    for (const name of ['tools', 'acme']) {
      expect((await site.call('GET', `/.api/organizations/${name}`)).json).toMatchObject({
        members: [{ name: 'jan', role: 'admin' }],
      });
    }
  });

  test('leaves an organization an admin, also when its two admins are deleted at once', async () => {
    for (const name of ['karl', 'lena']) await make(name);
    await site.call('POST', '/.api/organizations', { body: { name: 'pair', admin: 'karl' } });
    await site.call('PUT', '/.api/organizations/pair/members/lena', { body: { role: 'admin' } });
    const { deleting } = await site.database.transaction(async (transaction) => {
      await transaction.query(`select from namespaces where name = 'pair' for update`);
      const both = ['karl', 'lena'].map((name) => site.call('DELETE', `/.api/users/${name}`));
      await lockWaits(2);
      return { deleting: Promise.all(both) };
    });
    const statuses = (await deleting).map(({ status }) => status);
    expect(statuses.sort()).toEqual([204, 409]);
    const admins = await site.database.query(`select from organization_members where role = 'admin'
      and organization_id = (select id from namespaces where name = 'pair')`);
    expect(admins).toHaveLength(1);
  });

  test('of the same name as a new one gives the new one nothing', async () => {
    const token = await make('gerd');
    const job = await site.call('POST', '/.api/jobs', { token, body: { steps: [{ image: 'a', run: 'b' }] } });
    await site.call('DELETE', '/.api/users/gerd');
    const other = await make('gerd');
    expect((await site.call('GET', '/.api/jobs', { token: other })).json).toEqual({
      jobs: [],
      nextCursor: null,
    });
    const { id } = job.json as JobView;
    expect((await site.call('GET', `/.api/jobs/${id}`, { token: other })).status).toBe(404);
  });

  test('leaves a site admin, also when two delete each other', async () => {
    expect(await site.call('DELETE', '/.api/users/admin')).toMatchObject({
      status: 409,
      json: { error: { code: 'last_site_admin' } },
    });
    const other = await make('heidi', { siteAdmin: true });
    // Both have begun before either is through.
    const { deleting } = await site.database.transaction(async (transaction) => {
      await transaction.query('lock table users in share row exclusive mode');
      const both = [
        site.call('DELETE', '/.api/users/heidi'),
        site.call('DELETE', '/.api/users/admin', { token: other }),
      ];
      await lockWaits(2);
      return { deleting: Promise.all(both) };
    });
    const statuses = await deleting;
    const admins = await site.database.query('select from users where site_admin');
    expect(admins).toHaveLength(1);
    expect(statuses.filter(({ status }) => status === 204)).toHaveLength(1);
  });
});
