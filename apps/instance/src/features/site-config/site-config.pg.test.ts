import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  SiteConfigDiff,
  SiteConfigHistoryPage,
  SiteConfigSaved,
  SiteConfigVersionText,
  SiteConfigView,
} from '@kiln/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startTestDatabase } from '../../../../../test/kit/database.ts';
import { composeInstance, type Instance } from '../../compose.ts';
import {
  addUser,
  type InstanceUnderTest,
  type Reply,
  startInstanceUnderTest,
  until,
} from '../../instance-under-test.ts';

const secret = 'the-next-shared-secret-of-executors';
const base = '/.api/site-config';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest();
});
afterAll(() => site?.[Symbol.asyncDispose]());

let first: number;
beforeEach(async () => {
  first = (await show()).latest?.version ?? 0;
});
afterEach(async () => {
  await call('POST', '/rollback', { version: 1 });
});

const call = (method: string, path: string, body?: unknown, token?: string | null): Promise<Reply> =>
  site.call(method, base + path, {
    ...(body === undefined ? {} : { body }),
    ...(token === undefined ? {} : { token }),
  });

async function get<Body>(path: string): Promise<Body> {
  const reply = await call('GET', path);
  if (reply.status !== 200) throw new Error(reply.text);
  return reply.json as Body;
}

const show = () => get<SiteConfigView>('');

async function save(text: string, baseVersion: number): Promise<SiteConfigSaved> {
  const reply = await call('PUT', '', { text, baseVersion });
  if (reply.status !== 200) throw new Error(reply.text);
  return reply.json as SiteConfigSaved;
}

async function isAccepted(sharedSecret: string, url = site.instance.url): Promise<boolean> {
  const headers = { authorization: `token-executor ${sharedSecret}` };
  return (await fetch(`${url}/.executors/test/auth`, { headers })).ok;
}

async function sharedSecret(): Promise<string> {
  return (await get<{ accessToken: string }>('/executor-token')).accessToken;
}

describe('the site configuration over HTTP', () => {
  test('is shown without its secrets, changed, and in force at once', async () => {
    const old = await sharedSecret();
    const { text, file, latest } = await show();
    expect(file).toBeNull();
    expect(latest).toMatchObject({ version: first });
    expect(text).toMatch(
      /^\/\/ The site configuration\..*"executors\.accessToken": "hidden secret [0-9a-f]{8}",\n\}\n$/s,
    );

    // The end of a rotation: the old secret stays good for a while, though nobody here saw it.
    const rotated = text.replace(
      /"executors.accessToken": ("hidden.*"),/,
      `"executors.accessToken": "${secret}",\n  "executors.accessTokens": [$1],`,
    );
    expect(await save(rotated, first)).toMatchObject({
      changed: true,
      latest: { version: first + 1, cause: 'edit', user: 'admin', restoredVersion: null },
    });
    expect(await isAccepted(secret)).toBe(true);
    expect(await isAccepted(old)).toBe(true);
    const shown = await show();
    expect(shown.text).not.toContain(secret);
    expect(shown.text).toContain('// The shared secret of executors');

    expect(await save(shown.text, first + 1)).toMatchObject({
      changed: false,
      latest: { version: first + 1 },
    });
    expect((await call('DELETE', '/keys/executors.accessTokens')).status).toBe(200);
    expect(await isAccepted(secret)).toBe(true);
    expect(await isAccepted(old)).toBe(false);
  });

  test('says what is wrong, in which line, and quotes no value', async () => {
    const text = `{\n  "executors.accessToken": "REDACTED",\n  "executors.acessTokens": ["${secret}"],\n  "retention.jobsDays": "hunter2"\n}`;
    const reply = await call('PUT', '', { text, baseVersion: first });
    expect(reply).toMatchObject({ status: 400, json: { error: { code: 'invalid_site_config' } } });
    const { message } = (reply.json as { error: { message: string } }).error;
    expect(message).toContain('line 2: "executors.accessToken": is the word REDACTED');
    expect(message).toContain(
      'line 3: unknown key "executors.acessTokens": did you mean "executors.accessTokens"?',
    );
    expect(message).toContain('line 4: "retention.jobsDays": Invalid input: expected number');
    expect(message).not.toMatch(/hunter2|the-next/);
    expect((await show()).latest?.version).toBe(first);
  });

  test('sets and takes out single keys; comments stay', async () => {
    const { text } = await show();
    expect(await call('PUT', '/keys/externalURL', { value: 'https://kiln.example.com' })).toMatchObject({
      status: 200,
      json: { changed: true, latest: { version: first + 1 } },
    });
    expect((await show()).text).toBe(
      text.replace(',\n}', ',\n  "externalURL": "https://kiln.example.com",\n}'),
    );
    expect(await call('PUT', '/keys/externalUrl', { value: 'x' })).toMatchObject({
      status: 400,
      json: { error: { message: expect.stringContaining('did you mean "externalURL"?') } },
    });
    expect(await call('PUT', '/keys/externalURL', {})).toMatchObject({ status: 400 });
    expect(await call('DELETE', '/keys/externalURL')).toMatchObject({ status: 200, json: { changed: true } });
    expect((await show()).text).toBe(text);
  });

  test('publishes its JSON Schema', async () => {
    expect(await get('/schema')).toMatchObject({
      type: 'object',
      additionalProperties: false,
      properties: { 'executors.accessToken': { type: 'string', writeOnly: true } },
    });
  });

  test('is for site admins', async () => {
    const eve = await addUser(site, 'eve');
    for (const [method, path, body] of [
      ['GET', ''],
      ['GET', '/schema'],
      ['GET', '/history'],
      ['GET', '/history/1'],
      ['GET', '/diff?from=1&to=1'],
      ['GET', '/executor-token'],
      ['PUT', '', { text: '{}', baseVersion: first }],
      ['PUT', '/keys/externalURL', { value: 'https://evil.example.com' }],
      ['DELETE', '/keys/executors.accessToken'],
      ['POST', '/rollback', { version: 1 }],
    ] as const) {
      for (const [who, status] of [
        [null, 401],
        [eve, 403],
      ] as const) {
        expect((await call(method, path, body, who)).status, `${method} ${path} as ${who}`).toBe(status);
      }
    }
    expect((await show()).latest?.version).toBe(first);
  });
});

describe('its history', () => {
  test('says who changed what when, also after a roll back, and takes secrets back too', async () => {
    const old = await sharedSecret();
    await call('PUT', '/keys/executors.accessToken', { value: secret });
    await call('PUT', '/keys/retention.jobsDays', { value: 7 });

    const diff = await get<SiteConfigDiff>(`/diff?from=${first}&to=${first + 2}`);
    expect(diff.diff).toMatch(/^--- version \d+\n\+\+\+ version \d+\n/);
    expect(diff.diff.match(/^[-+] .*$/gm)).toEqual([
      expect.stringMatching(/^- {2}"executors.accessToken": "hidden secret .*",$/),
      expect.stringMatching(/^\+ {2}"executors.accessToken": "hidden secret .*",$/),
      '+  "retention.jobsDays": 7,',
    ]);
    expect((await get<SiteConfigDiff>(`/diff?from=${first}&to=${first}`)).diff).toBe('');

    expect(await call('POST', '/rollback', { version: first })).toMatchObject({
      status: 200,
      json: { latest: { version: first + 3, cause: 'rollback', restoredVersion: first, user: 'admin' } },
    });
    expect(await isAccepted(old)).toBe(true);
    expect(await isAccepted(secret)).toBe(false);
    const [before, after] = await Promise.all([
      get<SiteConfigVersionText>(`/history/${first}`),
      get<SiteConfigVersionText>(`/history/${first + 3}`),
    ]);
    expect(after.text).toBe(before.text);

    const page = await get<SiteConfigHistoryPage>('/history?first=2');
    expect(page.versions.map(({ version }) => version)).toEqual([first + 3, first + 2]);
    const next = await get<SiteConfigHistoryPage>(`/history?first=1&after=${page.nextCursor}`);
    expect(next.versions).toMatchObject([{ version: first + 1, cause: 'edit', user: 'admin' }]);
    const everything = await get<SiteConfigHistoryPage>('/history');
    expect(everything.versions.at(-1)).toMatchObject({ version: 1, cause: 'first start', user: null });
    expect(everything.nextCursor).toBeNull();
    for (const path of ['/history/999', `/diff?from=1&to=999`]) {
      expect(await call('GET', path)).toMatchObject({
        status: 404,
        json: { error: { code: 'unknown_version' } },
      });
    }
    expect((await call('POST', '/rollback', { version: 999 })).status).toBe(404);
  });

  test('refuses to overwrite what somebody else changed meanwhile', async () => {
    const { text } = await show();
    await call('PUT', '/keys/retention.jobsDays', { value: 7 });
    expect(await call('PUT', '', { text, baseVersion: first })).toMatchObject({
      status: 409,
      json: {
        error: {
          code: 'site_config_changed',
          message: expect.stringContaining(`admin made version ${first + 1} at `),
          hint: expect.stringContaining(`kiln config diff ${first} `),
        },
      },
    });
    expect((await show()).text).toContain('"retention.jobsDays": 7');
  });

  test('has every one of many changes made at once; of many edits of one version one is taken', async () => {
    const { text } = await show();
    const edits = await Promise.all(
      Array.from({ length: 10 }, (_, n) => call('PUT', '', { text: `${text}// ${n}\n`, baseVersion: first })),
    );
    expect(edits.map(({ status }) => status).toSorted()).toEqual([200, ...Array<number>(9).fill(409)]);
    const sets = await Promise.all(
      Array.from({ length: 10 }, (_, n) => call('PUT', '/keys/retention.jobsDays', { value: 100 + n })),
    );
    expect(
      sets.map(({ json }) => (json as SiteConfigSaved).latest.version).toSorted((a, b) => a - b),
    ).toEqual(Array.from({ length: 10 }, (_, n) => first + 2 + n));
    const rollbacks = await Promise.all(
      Array.from({ length: 30 }, (_, n) => call('POST', '/rollback', { version: first + (n % 2) })),
    );
    expect(rollbacks.map(({ status }) => status)).toEqual(Array(30).fill(200));
  });

  test('holds no secret in the clear', async () => {
    const old = await sharedSecret();
    await call('PUT', '/keys/executors.accessToken', { value: secret });
    const rows = await site.database.query<{ row: string }>(
      `select encode(sealed_value, 'escape') || encode(wrapped_key, 'escape') || s::text || v::text as row
       from sealed_texts s join site_config_versions v on v.text_id = s.id`,
    );
    expect(rows.length).toBeGreaterThan(first);
    for (const text of [old, secret]) {
      expect(JSON.stringify(rows)).not.toContain(text);
      expect(JSON.stringify(rows)).not.toContain(Buffer.from(text).toString('hex'));
      const logged = JSON.stringify(site.logLines);
      expect(logged).not.toContain(text);
    }
  });
});

describe('several instances', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kiln-other-instance-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const startOther = (): Promise<Instance> =>
    composeInstance({
      dataDirectory: directory,
      databaseURL: site.databaseURL,
      blobDirectory: join(site.directory, 'blobs'),
      secretKeyFile: join(site.directory, 'secret-key'),
      listen: { host: '127.0.0.1', port: 0 },
      logLevel: 'silent',
    });

  test('share one configuration, whoever changes it', async () => {
    const old = await sharedSecret();
    await using other = await startOther();
    expect(await isAccepted(old, other.url)).toBe(true);
    await call('PUT', '/keys/executors.accessToken', { value: secret });
    await until(() => isAccepted(secret, other.url));
    expect(await isAccepted(old, other.url)).toBe(false);

    const { text } = await show();
    const reply = await fetch(other.url + base, {
      method: 'PUT',
      headers: { authorization: `token ${site.adminToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ text: text.replace(/"hidden secret .*"/, `"${old}"`), baseVersion: first + 1 }),
    });
    expect(reply.status).toBe(200);
    await until(() => isAccepted(old));
    expect(await isAccepted(secret)).toBe(false);
  });

  test('do not read a file of an earlier version of Kiln when there is a configuration already', async () => {
    const path = join(directory, 'site-config.jsonc');
    await writeFile(path, `{"executors.accessToken": "${secret}"}`);
    await using other = await startOther();
    expect(await isAccepted(secret, other.url)).toBe(false);
    expect(await readFile(path, 'utf8')).toContain(secret);
  });
});

describe('the first start', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kiln-first-start-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  test('takes over the file of an earlier version of Kiln as it is', async () => {
    const path = join(directory, 'site-config.jsonc');
    const text = `// ours\n{ "executors.accessToken": "${secret}", /* soon */ "retention.jobsDays": 7 }\n`;
    await writeFile(path, text, { mode: 0o644 });
    await using test = await startTestDatabase();
    await using taken = await composeInstance({
      dataDirectory: directory,
      databaseURL: test.url,
      listen: { host: '127.0.0.1', port: 0 },
      logLevel: 'silent',
    });
    expect(await isAccepted(secret, taken.url)).toBe(true);
    await expect(stat(path)).rejects.toThrow('ENOENT');
    expect(await readFile(`${path}.taken-over`, 'utf8')).toBe(text);
    expect((await stat(`${path}.taken-over`)).mode & 0o777).toBe(0o600);
    const token = (await readFile(join(directory, 'admin-token'), 'utf8')).trim();
    const reply = await fetch(taken.url + base, { headers: { authorization: `token ${token}` } });
    expect(await reply.json()).toMatchObject({
      text: expect.stringMatching(
        /^\/\/ ours\n\{ "executors.accessToken": "hidden secret .{8}", \/\* soon \*\/ /,
      ),
      latest: { version: 1, cause: 'file taken over', user: null },
    });
  });
});

describe('a configuration that is a file of the operator', () => {
  test('is shown, and changed by nobody else', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kiln-config-file-'));
    const file = join(directory, 'mine.jsonc');
    const text = `{"executors.accessToken": "${secret}"} // ours\n`;
    await writeFile(file, text);
    try {
      await using managed = await startInstanceUnderTest({ siteConfigFile: file });
      expect(await isAccepted(secret, managed.instance.url)).toBe(true);
      expect((await managed.call('GET', base)).json).toEqual({
        text: expect.stringMatching(/^\{"executors.accessToken": "hidden secret .{8}"\} \/\/ ours\n$/),
        file,
        latest: null,
      });
      for (const [method, path, body] of [
        ['GET', '/history'],
        ['GET', '/history/1'],
        ['GET', '/diff?from=1&to=1'],
        ['PUT', '', { text: '{}', baseVersion: 1 }],
        ['PUT', '/keys/retention.jobsDays', { value: 7 }],
        ['DELETE', '/keys/executors.accessToken'],
        ['POST', '/rollback', { version: 1 }],
      ] as const) {
        const reply = await managed.call(method, base + path, body ? { body } : {});
        expect(reply, `${method} ${path}`).toMatchObject({
          status: 409,
          json: { error: { code: 'site_config_is_a_file' } },
        });
      }
      expect(await readFile(file, 'utf8')).toBe(text);
      expect(await managed.database.query('select 1 from site_config_versions')).toEqual([]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});
