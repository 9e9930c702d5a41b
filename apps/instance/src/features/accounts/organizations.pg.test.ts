import type { JobView, OrganizationView } from '@kiln/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { addUser, type InstanceUnderTest, startInstanceUnderTest, until } from '../../instance-under-test.ts';

let site: InstanceUnderTest;
const tokens: Record<'dora' | 'emil' | 'mallory' | 'admin', string> = {} as never;
type Caller = keyof typeof tokens;

beforeAll(async () => {
  site = await startInstanceUnderTest();
  tokens.admin = site.adminToken;
  for (const name of ['dora', 'emil', 'mallory'] as const) tokens[name] = await addUser(site, name);
});
afterAll(() => site?.[Symbol.asyncDispose]());
beforeEach(async () => {
  await site.database.query(`delete from namespaces where kind = 'organization'`);
  expect((await call('admin', 'POST', '', { name: 'Acme', admin: 'dora' })).status).toBe(201);
  expect((await call('dora', 'PUT', '/acme/members/emil', { role: 'member' })).status).toBe(204);
});

function call(caller: Caller, method: string, path: string, body?: object) {
  const options = { token: tokens[caller], ...(body === undefined ? {} : { body }) };
  return site.call(method, `/.api/organizations${path}`, options);
}

async function members(): Promise<Record<string, string>> {
  const { members: list } = (await call('admin', 'GET', '/acme')).json as OrganizationView;
  return Object.fromEntries(list.map(({ name, role }) => [name, role]));
}

const refusal = (status: number, code: string) => ({ status, json: { error: { code } } });

describe('organizations', () => {
  test('are seen by their members and site admins', async () => {
    const member = { name: 'Acme', role: 'member', members: 2 };
    expect((await call('emil', 'GET', '')).json).toMatchObject({ organizations: [member] });
    expect((await call('admin', 'GET', '')).json).toMatchObject({
      organizations: [{ ...member, role: null }],
    });
    expect((await call('mallory', 'GET', '')).json).toEqual({ organizations: [] });
    expect((await call('emil', 'GET', '/ACME')).json).toMatchObject({
      name: 'Acme',
      role: 'member',
      members: [
        { name: 'dora', role: 'admin' },
        { name: 'emil', role: 'member' },
      ],
    });
    for (const [method, path, body] of [
      ['GET', '/acme'],
      ['PUT', '/acme/members/mallory', { role: 'admin' }],
      ['DELETE', '/acme/members/emil'],
    ] as const) {
      expect(await call('mallory', method, path, body)).toMatchObject(refusal(404, 'unknown_organization'));
    }
  });

  test('are made by site admins, with names that nobody has', async () => {
    expect((await call('dora', 'POST', '', { name: 'mine' })).status).toBe(403);
    for (const name of ['acme', 'DORA']) {
      expect(await call('admin', 'POST', '', { name })).toMatchObject(refusal(409, 'name_taken'));
    }
    expect(await call('admin', 'POST', '', { name: 'x', admin: 'nobody' })).toMatchObject(
      refusal(404, 'unknown_user'),
    );
    expect(await site.call('POST', '/.api/users', { body: { name: 'acme' } })).toMatchObject(
      refusal(409, 'name_taken'),
    );
    expect((await call('admin', 'POST', '', { name: 'other' })).json).toMatchObject({
      role: 'admin',
      members: [{ name: 'admin', role: 'admin' }],
    });
  });

  test('let their admins and site admins say who is in them, and members only leave', async () => {
    expect(await call('emil', 'PUT', '/acme/members/emil', { role: 'admin' })).toMatchObject(
      refusal(403, 'not_organization_admin'),
    );
    expect(await call('emil', 'DELETE', '/acme/members/dora')).toMatchObject(
      refusal(403, 'not_organization_admin'),
    );
    expect(await call('dora', 'PUT', '/acme/members/nobody', { role: 'member' })).toMatchObject(
      refusal(404, 'unknown_user'),
    );
    expect(await call('dora', 'DELETE', '/acme/members/mallory')).toMatchObject(
      refusal(404, 'unknown_member'),
    );
    expect((await call('admin', 'PUT', '/acme/members/Mallory', { role: 'member' })).status).toBe(204);
    expect((await call('dora', 'PUT', '/acme/members/emil', { role: 'admin' })).status).toBe(204);
    expect(await members()).toEqual({ dora: 'admin', emil: 'admin', mallory: 'member' });
    expect((await call('mallory', 'DELETE', '/acme/members/mallory')).status).toBe(204);
    expect((await call('emil', 'DELETE', '/acme/members/dora')).status).toBe(204);
    expect(await members()).toEqual({ emil: 'admin' });
  });

  test('are never left by their last admin', async () => {
    const last = refusal(409, 'last_organization_admin');
    expect(await call('dora', 'DELETE', '/acme/members/dora')).toMatchObject(last);
    expect(await call('dora', 'PUT', '/acme/members/dora', { role: 'member' })).toMatchObject(last);
    expect(await call('admin', 'DELETE', '/acme/members/dora')).toMatchObject(last);
    expect(await members()).toEqual({ dora: 'admin', emil: 'member' });

    await call('dora', 'PUT', '/acme/members/emil', { role: 'admin' });
    // Both have begun before either is through.
    const { leaving } = await site.database.transaction(async (transaction) => {
      await transaction.query('select from namespaces where lower(name) = $1 for update', ['acme']);
      const both = (['dora', 'emil'] as const).map((name) => call(name, 'DELETE', `/acme/members/${name}`));
      await until(async () => {
        const waiting = await site.database.query(
          `select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
        );
        return waiting.length === 2;
      });
      return { leaving: Promise.all(both) };
    });
    const statuses = (await leaving).map(({ status }) => status);
    expect(statuses.sort()).toEqual([204, 409]);
    expect(Object.values(await members())).toEqual(['admin']);
  });

  test('are deleted with their jobs canceled, by site admins', async () => {
    const body = { steps: [{ image: 'a', run: 'b' }], namespace: 'acme' };
    const job = (await site.call('POST', '/.api/jobs', { token: tokens.emil, body })).json as JobView;
    expect((await call('dora', 'DELETE', '/acme')).status).toBe(403);
    expect((await call('admin', 'DELETE', '/acme')).status).toBe(204);
    expect(await call('admin', 'DELETE', '/acme')).toMatchObject(refusal(404, 'unknown_organization'));
    expect((await site.call('GET', `/.api/jobs/${job.id}`)).json).toMatchObject({
      state: 'canceled',
      namespace: expect.stringMatching(/^#\d+$/),
    });
    expect((await site.call('GET', `/.api/jobs/${job.id}`, { token: tokens.emil })).status).toBe(404);
  });

  test('outlive their members, whose jobs in them go on', async () => {
    const token = await addUser(site, 'fritz');
    await call('dora', 'PUT', '/acme/members/fritz', { role: 'member' });
    const body = { steps: [{ image: 'a', run: 'b' }], namespace: 'acme' };
    const job = (await site.call('POST', '/.api/jobs', { token, body })).json as JobView;
    expect((await site.call('DELETE', '/.api/users/fritz')).status).toBe(204);
    expect(await members()).toEqual({ dora: 'admin', emil: 'member' });
    expect((await site.call('GET', `/.api/jobs/${job.id}`, { token: tokens.emil })).json).toMatchObject({
      state: 'queued',
      namespace: 'Acme',
    });
  });
});
