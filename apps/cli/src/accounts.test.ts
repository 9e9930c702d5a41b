import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readNewPassword } from './secret-input.ts';
import { kiln, scriptedInstance } from './testing/scripted-instance.ts';

const createdAt = '2026-01-01T00:00:00.000Z';
const user = (name: string, more = {}) => ({ name, siteAdmin: false, hasPassword: true, createdAt, ...more });

describe('kiln user', () => {
  it('list shows who is who', async () => {
    const users = [user('admin', { siteAdmin: true, hasPassword: false }), user('dora')];
    await using instance = await scriptedInstance({ 'GET /.api/users': { users } });
    const { stdout } = await kiln(['user', 'list'], instance);
    expect(stdout).toMatch(/^NAME +ROLE +PASSWORD +CREATED\nadmin +site admin +no .*\ndora +user +yes .*\n$/);
    expect(JSON.parse((await kiln(['--json', 'user', 'list'], instance)).stdout)).toEqual({ users });
  });

  it('create takes the password from standard input and shows nothing of it', async () => {
    await using instance = await scriptedInstance({ 'POST /.api/users': user('dora') });
    const args = ['user', 'create', '--site-admin', 'dora'];
    expect(await kiln(args, { ...instance, stdin: 'correct horse\n' })).toEqual({
      exitCode: 0,
      stdout: 'dora: created\n',
      stderr: '',
    });
    expect(instance.bodies).toEqual([{ name: 'dora', siteAdmin: true, password: 'correct horse' }]);
  });

  it.each([['create'], ['set-password']])('%s never takes the password as an argument', async (command) => {
    const { exitCode, stderr } = await kiln(['user', command, 'dora', 'hunter2'], { stdin: '' });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('a password is never an argument');
    expect(stderr).not.toContain('hunter2');
  });

  it('set-password sets that of others, and the own one only with the one before', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/user': user('admin'),
      'PUT /.api/users/dora/password': (_request, response) => response.writeHead(204).end(),
    });
    expect(await kiln(['user', 'set-password', 'dora'], { ...instance, stdin: 'new horse' })).toMatchObject({
      exitCode: 0,
      stdout: 'dora: password set\n',
    });
    expect(instance.bodies.at(-1)).toEqual({ password: 'new horse' });
    expect(await kiln(['user', 'set-password', 'Admin'], { ...instance, stdin: 'new horse' })).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('where the current one is asked for first'),
    });
  });

  it('set-role makes site admins, and none', async () => {
    await using instance = await scriptedInstance({
      'PUT /.api/users/dora/site-admin': (_request, response) => response.writeHead(204).end(),
    });
    const set = (role: string) => kiln(['user', 'set-role', 'dora', role], instance);
    expect((await set('site-admin')).stdout).toBe('dora: site-admin\n');
    expect((await set('user')).stdout).toBe('dora: user\n');
    expect((await set('god')).exitCode).toBe(2);
    expect(instance.bodies).toEqual([{ siteAdmin: true }, { siteAdmin: false }]);
  });

  it('link names an account of the provider', async () => {
    await using instance = await scriptedInstance({
      'PUT /.api/users/dora/external-account': (_request, response) => response.writeHead(204).end(),
    });
    expect((await kiln(['user', 'link', 'dora', '248289761001'], instance)).stdout).toBe(
      'dora: signs in with 248289761001\n',
    );
    expect(instance.bodies).toEqual([{ subject: '248289761001' }]);
  });

  it('delete says what it did', async () => {
    await using instance = await scriptedInstance({
      'DELETE /.api/users/dora': (_request, response) => response.writeHead(204).end(),
    });
    expect((await kiln(['user', 'delete', 'dora'], instance)).stdout).toBe('dora: deleted\n');
  });
});

describe('on a terminal a new password', () => {
  async function type(first: string, second: string): Promise<string> {
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    const stderr = new PassThrough();
    const lines = [first, second];
    stderr.on('data', (shown: Buffer) => {
      if (shown.toString().endsWith(': ')) setImmediate(() => stdin.write(`${lines.shift()}\r`));
    });
    return readNewPassword('Password', { stdin, stderr, interrupted: new AbortController().signal });
  }

  it('is typed twice', async () => {
    expect(await type('correct horse', 'correct horse')).toBe('correct horse');
    await expect(type('correct horse', 'correct house')).rejects.toThrow('another password than before');
  });
});

describe('kiln token', () => {
  const accessToken = {
    id: 12,
    note: 'builds',
    scope: 'jobs',
    createdAt,
    expiresAt: '2027-01-01T00:00:00.000Z',
    lastUsedAt: null,
  };

  it('create prints the token alone, for jobs unless more is asked for', async () => {
    const made = { token: 'kiln_new', user: 'dora', accessToken };
    await using instance = await scriptedInstance({ 'POST /.api/access-tokens': made });
    expect(await kiln(['token', 'create', 'builds'], instance)).toEqual({
      exitCode: 0,
      stdout: 'kiln_new\n',
      stderr: 'token 12 of dora; it is not shown again\n',
    });
    await kiln(['token', 'create', '--scope', 'all', '--days', '30', 'laptop'], instance);
    expect(instance.bodies).toEqual([
      { note: 'builds', scope: 'jobs' },
      { note: 'laptop', scope: 'all', expiresInDays: 30 },
    ]);
  });

  it('list and revoke name tokens by number', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/access-tokens': { accessTokens: [accessToken] },
      'DELETE /.api/access-tokens/12': (_request, response) => response.writeHead(204).end(),
    });
    const { stdout } = await kiln(['token', 'list'], instance);
    expect(stdout.split('\n')[1]).toMatch(/^12 +jobs +\S+ ago +never +2027-01-01 +builds$/);
    await kiln(['token', 'list', '--user', 'emil'], instance);
    expect(instance.requests.at(-1)).toBe('GET /.api/access-tokens?user=emil');
    expect((await kiln(['token', 'revoke', '12'], instance)).stdout).toBe('token 12: revoked\n');
    expect((await kiln(['token', 'revoke', 'builds'], instance)).exitCode).toBe(2);
  });
});

describe('kiln org', () => {
  const organization = {
    name: 'acme',
    role: 'admin',
    createdAt,
    members: [
      { name: 'dora', role: 'admin' },
      { name: 'emil', role: 'member' },
    ],
  };

  it('list and show say who is in which', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/organizations': { organizations: [{ ...organization, members: 2 }] },
      'GET /.api/organizations/acme': organization,
    });
    expect((await kiln(['org', 'list'], instance)).stdout).toBe('NAME  YOU    MEMBERS\nacme  admin  2\n');
    expect((await kiln(['org', 'show', 'acme'], instance)).stdout).toBe(
      'NAME  ROLE\ndora  admin\nemil  member\n',
    );
  });

  it('create, add, remove and delete do what they say', async () => {
    const done: Parameters<typeof scriptedInstance>[0][string] = (_request, response) =>
      response.writeHead(204).end();
    await using instance = await scriptedInstance({
      'POST /.api/organizations': organization,
      'PUT /.api/organizations/acme/members/emil': done,
      'DELETE /.api/organizations/acme/members/emil': done,
      'DELETE /.api/organizations/acme': done,
    });
    const printed: string[] = [];
    for (const args of [
      ['create', 'acme', '--admin', 'dora'],
      ['add', 'acme', 'emil'],
      ['add', 'acme', 'emil', '--admin'],
      ['remove', 'acme', 'emil'],
      ['delete', 'acme'],
    ]) {
      printed.push((await kiln(['org', ...args], instance)).stdout);
    }
    expect(printed).toEqual([
      'acme: created\n',
      'emil: member of acme\n',
      'emil: admin of acme\n',
      'emil: removed from acme\n',
      'acme: deleted\n',
    ]);
    expect(instance.bodies).toEqual([
      { name: 'acme', admin: 'dora' },
      { role: 'member' },
      { role: 'admin' },
      undefined,
      undefined,
    ]);
  });
});
