import { chmodSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kiln, refuse, type ScriptedInstance, scriptedInstance } from './testing/scripted-instance.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'kiln-login-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const made = {
  token: 'kiln_of-dora',
  user: 'Dora',
  accessToken: {
    id: 12,
    note: 'kiln login on here',
    scope: 'all',
    createdAt: '2026-01-01T00:00:00.000Z',
    expiresAt: '2026-04-01T00:00:00.000Z',
    lastUsedAt: null,
  },
};
const answers = {
  'POST /.api/access-tokens/by-password': made,
  'GET /.api/jobs': { jobs: [], nextCursor: null },
};

const file = () => path.join(home, '.config', 'kiln', 'logins.json');

function as(instance: ScriptedInstance, args: string[], options: { stdin?: string; env?: object } = {}) {
  const env = { KILN_TOKEN: '', HOME: home, ...options.env };
  return kiln(args, { url: instance.url, cwd: home, stdin: options.stdin ?? '', env });
}

describe('kiln login', () => {
  it('keeps an access token that only its owner can read, and uses it with that instance only', async () => {
    await using instance = await scriptedInstance(answers);
    await using other = await scriptedInstance(answers);
    const login = await as(instance, ['login', 'dora'], { stdin: 'correct horse battery\n' });
    expect(login).toEqual({ exitCode: 0, stdout: `signed in to ${instance.url} as Dora\n`, stderr: '' });
    expect(instance.bodies).toEqual([
      {
        name: 'dora',
        password: 'correct horse battery',
        note: expect.stringMatching(/^kiln login on ./),
        expiresInDays: 90,
      },
    ]);
    expect(instance.headers[0]?.authorization).toBeUndefined();
    expect((await stat(file())).mode & 0o777).toBe(0o600);
    expect((await stat(path.dirname(file()))).mode & 0o777).toBe(0o700);
    expect(await readFile(file(), 'utf8')).not.toContain('correct horse');

    await as(instance, ['job', 'list']);
    expect(instance.headers.at(-1)?.authorization).toBe('token kiln_of-dora');
    await as(other, ['job', 'list']);
    expect(other.headers.at(-1)?.authorization).toBeUndefined();
    await as(instance, ['job', 'list'], { env: { KILN_TOKEN: 'kiln_of-a-build' } });
    expect(instance.headers.at(-1)?.authorization).toBe('token kiln_of-a-build');
  });

  it('goes before the admin token of a data directory', async () => {
    await using instance = await scriptedInstance(answers);
    await mkdir(path.join(home, '.kiln'));
    await writeFile(path.join(home, '.kiln', 'admin-token'), 'kiln_of-admin\n');
    await as(instance, ['job', 'list']);
    await as(instance, ['login', 'dora'], { stdin: 'x' });
    await as(instance, ['job', 'list']);
    expect(instance.headers.map((headers) => headers.authorization)).toEqual([
      'token kiln_of-admin',
      undefined,
      'token kiln_of-dora',
    ]);
  });

  it('revokes the token of the login before', async () => {
    await using instance = await scriptedInstance({
      ...answers,
      'DELETE /.api/access-tokens/12': (_request, response) => response.writeHead(204).end(),
    });
    await as(instance, ['login', 'dora'], { stdin: 'x' });
    expect(instance.requests).toHaveLength(1);
    expect((await as(instance, ['login', 'dora'], { stdin: 'x' })).exitCode).toBe(0);
    expect(instance.requests.at(-1)).toBe('DELETE /.api/access-tokens/12');
    expect(await readFile(file(), 'utf8')).toContain('kiln_of-dora');
  });

  it('uses the directory of XDG_CONFIG_HOME, and keeps the logins of other instances', async () => {
    await using instance = await scriptedInstance(answers);
    await using other = await scriptedInstance(answers);
    const env = { XDG_CONFIG_HOME: path.join(home, 'xdg') };
    await as(instance, ['login', 'dora'], { stdin: 'x', env });
    await as(other, ['login', 'dora'], { stdin: 'x', env });
    const logins = JSON.parse(await readFile(path.join(home, 'xdg', 'kiln', 'logins.json'), 'utf8'));
    expect(Object.keys(logins)).toEqual([instance.url, other.url]);
  });

  it('never takes the password as an argument, and says why it was refused', async () => {
    await using instance = await scriptedInstance({
      'POST /.api/access-tokens/by-password': (_request, response) =>
        refuse(response, 401, { code: 'wrong_credentials', message: 'There is no such user', hint: 'ask' }),
    });
    const argument = await as(instance, ['login', 'dora', 'hunter2']);
    expect(argument.exitCode).toBe(2);
    expect(argument.stderr).toContain('a password is never an argument');
    expect(argument.stderr).not.toContain('hunter2');
    expect(await as(instance, ['login', 'dora'], { stdin: '\n' })).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('no password was given'),
    });
    expect(await as(instance, ['login', 'dora'], { stdin: 'hunter2' })).toMatchObject({
      exitCode: 2,
      stderr: 'kiln: There is no such user\n  ask\n',
    });
    await expect(stat(file())).rejects.toThrow('ENOENT');
  });

  it.each([
    ['that others can read', '{}', 0o644, 'others can read or change'],
    ['with something else in it', '{"kiln_secret": ', 0o600, 'is not what kiln login wrote'],
  ])('does not use a file %s', async (_, text, mode, message) => {
    await using instance = await scriptedInstance(answers);
    await mkdir(path.dirname(file()), { recursive: true });
    await writeFile(file(), text, { mode });
    const { exitCode, stderr } = await as(instance, ['job', 'list']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('kiln_secret');
    expect(instance.requests).toEqual([]);
  });
});

describe('where the home directory is of somebody else', () => {
  it('other tokens are used', async () => {
    await using instance = await scriptedInstance(answers);
    const working = await mkdtemp(path.join(tmpdir(), 'kiln-login-working-'));
    await writeFile(path.join(working, 'admin-token'), 'kiln_of-admin\n');
    await chmod(working, 0o755);
    const env = { KILN_DATA_DIR: working };
    try {
      using _ = await withoutHome();
      expect(await as(instance, ['job', 'list'], { env })).toMatchObject({ exitCode: 0 });
    } finally {
      await rm(working, { recursive: true });
    }
    expect(instance.headers.map(({ authorization }) => authorization)).toEqual(['token kiln_of-admin']);
  });

  it('it is said where none was found', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/jobs': (_request, response) =>
        refuse(response, 401, { code: 'unauthenticated', message: 'No access token was sent' }),
    });
    using _ = await withoutHome();
    const { stderr } = await as(instance, ['job', 'list']);
    expect(stderr).toMatch(/^kiln: No access token was sent\n.*the logins cannot be read: EACCES/);
  });

  it.each([['login', 'dora'], ['logout']])(
    '%s is refused before anything is asked of the instance',
    async (...args) => {
      await using instance = await scriptedInstance(answers);
      using _ = await withoutHome();
      expect(await as(instance, args, { stdin: 'x' })).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('the logins cannot be read: EACCES'),
      });
      expect(instance.requests).toEqual([]);
    },
  );
});

/** As with `runuser`, which leaves HOME that of root. */
async function withoutHome(): Promise<Disposable> {
  // Root reads everything, so it becomes nobody.
  const uid = process.geteuid?.();
  await chmod(home, 0o000);
  if (uid === 0) process.seteuid?.(65534);
  return {
    [Symbol.dispose]() {
      if (uid === 0) process.seteuid?.(uid);
      chmodSync(home, 0o700);
    },
  };
}

describe('kiln logout', () => {
  it.each([
    ['revokes the token and forgets it', 204],
    ['forgets a token that was revoked already', 401],
  ])('%s', async (_, status) => {
    await using instance = await scriptedInstance({
      ...answers,
      'DELETE /.api/access-tokens/12': (_request, response) =>
        status === 204
          ? response.writeHead(204).end()
          : refuse(response, 401, { code: 'unauthenticated', message: 'The access token is unknown' }),
    });
    await as(instance, ['login', 'dora'], { stdin: 'x' });
    expect(await as(instance, ['logout'])).toMatchObject({
      exitCode: 0,
      stdout: `signed out of ${instance.url}\n`,
    });
    expect(instance.headers.at(-1)?.authorization).toBe('token kiln_of-dora');
    expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({});
    expect(await as(instance, ['logout'])).toMatchObject({
      exitCode: 2,
      stderr: `kiln: nobody is signed in to ${instance.url}\n`,
    });
  });

  it('keeps the token when the instance does not answer', async () => {
    const instance = await scriptedInstance(answers);
    await as(instance, ['login', 'dora'], { stdin: 'x' });
    await instance[Symbol.asyncDispose]();
    expect((await as(instance, ['logout'])).exitCode).toBe(2);
    expect(await readFile(file(), 'utf8')).toContain('kiln_of-dora');
  });
});
