import { access, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { SiteConfigVersion, SiteConfigView } from '@kiln/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kiln, refuse, scriptedInstance } from './testing/scripted-instance.ts';

const latest: SiteConfigVersion = {
  version: 3,
  cause: 'edit',
  restoredVersion: null,
  user: 'berta',
  createdAt: '2026-01-02T00:00:00.000Z',
};
const text = '// ours\n{\n  "executors.accessToken": "hidden secret 1f0c93ab",\n}\n';
const view: SiteConfigView = { text, file: null, latest };
const fileView: SiteConfigView = { text, file: '/etc/kiln/site.jsonc', latest: null };
const saved = { latest: { ...latest, version: 4 }, changed: true };
const schema = {
  properties: {
    externalURL: { type: 'string' },
    'executors.accessToken': { type: 'string', writeOnly: true },
    'executors.accessTokens': { type: 'array', items: { type: 'string', writeOnly: true } },
    'retention.jobsDays': { type: 'integer' },
    'logs.maxBytesPerJob': { anyOf: [{ type: 'integer' }, { type: 'string' }] },
  },
};

describe('kiln config show', () => {
  it('prints the text, and where it comes from', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/site-config': view,
      'GET /.api/site-config/history/2': { ...latest, version: 2, text: '{}' },
    });
    expect(await kiln(['config', 'show'], instance)).toEqual({ exitCode: 0, stdout: text, stderr: '' });
    expect((await kiln(['config', 'show', '2'], instance)).stdout).toBe('{}\n');
    await using other = await scriptedInstance({ 'GET /.api/site-config': fileView });
    expect(await kiln(['config', 'show'], other)).toEqual({
      exitCode: 0,
      stdout: text,
      stderr: 'this is the file /etc/kiln/site.jsonc\n',
    });
  });
});

describe('kiln config set', () => {
  it.each<[string, string[], string, unknown]>([
    ['text', ['externalURL', '123'], '', '123'],
    ['a number', ['retention.jobsDays', '30'], '', 30],
    ['text where a number may stand', ['logs.maxBytesPerJob', '64MiB'], '', '64MiB'],
    ['a key that this program does not know', ['retention.auditDays', '7'], '', 7],
    [
      'a secret from standard input',
      ['executors.accessToken'],
      'hunter2-hunter2-hunter2\n',
      'hunter2-hunter2-hunter2',
    ],
    ['a secret of digits', ['executors.accessToken'], '12345678901234567890', '12345678901234567890'],
    [
      'a list of secrets',
      ['executors.accessTokens'],
      '["hunter2-hunter2-hunter2"]',
      ['hunter2-hunter2-hunter2'],
    ],
  ])('sends %s', async (_, args, stdin, value) => {
    const route = `PUT /.api/site-config/keys/${args[0]}`;
    await using instance = await scriptedInstance({ 'GET /.api/site-config/schema': schema, [route]: saved });
    expect(await kiln(['config', 'set', ...args], { ...instance, stdin })).toEqual({
      exitCode: 0,
      stdout: 'version 4 is in force\n',
      stderr: '',
    });
    expect(instance.bodies.at(-1)).toEqual({ value });
  });

  it.each([
    ['executors.accessToken', 'hunter2'],
    ['executors.accessTokens', 'hunter2'],
    ['executors.accessToken', 'hunter2', 'hunter2'],
    ['externalURL', 'hunter2', 'hunter2'],
    ['externalURL'],
  ])('refuses %s %s %s, and repeats nothing of it', async (...args) => {
    await using instance = await scriptedInstance({ 'GET /.api/site-config/schema': schema });
    const given = args.filter((argument) => argument !== undefined);
    const { exitCode, stdout, stderr } = await kiln(['config', 'set', ...given], instance);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/is never an argument|one value is set at a time|no value was given/);
    expect(stdout + stderr).not.toContain('hunter2');
    expect(instance.requests).toEqual(['GET /.api/site-config/schema']);
  });

  it('says how to give a secret when there is none', async () => {
    await using instance = await scriptedInstance({ 'GET /.api/site-config/schema': schema });
    const { stderr } = await kiln(['config', 'set', 'executors.accessToken'], { ...instance, stdin: '' });
    expect(stderr).toContain('kiln config set executors.accessToken < FILE');
  });

  it('is undone by unset', async () => {
    await using instance = await scriptedInstance({
      'DELETE /.api/site-config/keys/externalURL': { latest, changed: false },
    });
    expect((await kiln(['config', 'unset', 'externalURL'], instance)).stdout).toBe(
      'nothing to change in version 3\n',
    );
  });
});

describe('kiln config edit', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'kiln-config-test-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  /** An editor that notes what it was given, and runs a command on it. */
  async function editor(command: string): Promise<{ PATH: string | undefined; EDITOR: string }> {
    const script = path.join(directory, 'editor');
    await writeFile(
      script,
      `#!/bin/sh\necho "$2" > ${directory}/path\nstat -c %a "$2" "$(dirname "$2")" > ${directory}/modes\n${command}\n`,
      { mode: 0o700 },
    );
    return { PATH: process.env['PATH'], EDITOR: `${script} --wait` };
  }
  const openedPath = async () => (await readFile(path.join(directory, 'path'), 'utf8')).trim();

  it('opens the text in the editor, for nobody else to read, and saves what is left upon the version that was shown', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/site-config': view,
      'PUT /.api/site-config': saved,
    });
    const env = await editor(`sed -i 's/ours/yours/' "$2"`);
    expect(await kiln(['config', 'edit'], { ...instance, env })).toEqual({
      exitCode: 0,
      stdout: 'version 4 is in force\n',
      stderr: '',
    });
    expect(instance.bodies.at(-1)).toEqual({ text: text.replace('ours', 'yours'), baseVersion: 3 });
    expect(await readFile(path.join(directory, 'modes'), 'utf8')).toBe('600\n700\n');
    await expect(access(path.dirname(await openedPath()))).rejects.toThrow('ENOENT');
  });

  it('keeps a text that is refused, and says how to go on', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/site-config': view,
      'PUT /.api/site-config': (_request, response) =>
        refuse(response, 400, {
          code: 'invalid_site_config',
          message: 'The site configuration is not valid:\n  line 1: must be an object',
        }),
    });
    const env = await editor(`echo '[1]' > "$2"`);
    const { exitCode, stderr } = await kiln(['config', 'edit'], { ...instance, env });
    const kept = await openedPath();
    expect(exitCode).toBe(2);
    expect(stderr).toContain('not valid:\n  line 1: must be an object\n');
    expect(stderr).toContain(`kiln config edit --base 3 --file ${kept}`);
    expect(await readFile(kept, 'utf8')).toBe('[1]\n');
    expect((await stat(kept)).mode & 0o777).toBe(0o600);
    await rm(path.dirname(kept), { recursive: true });
  });

  it('saves nothing when the editor fails', async () => {
    await using instance = await scriptedInstance({ 'GET /.api/site-config': view });
    const { exitCode, stderr } = await kiln(['config', 'edit'], { ...instance, env: await editor('exit 7') });
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/the editor ".*--wait" ended with exit code 7; nothing was saved/);
    expect(instance.requests).toEqual(['GET /.api/site-config']);
    await expect(access(await openedPath())).rejects.toThrow('ENOENT');
  });

  it('takes the text from a file or standard input, for scripts and for going on', async () => {
    await using instance = await scriptedInstance({
      'GET /.api/site-config': view,
      'PUT /.api/site-config': saved,
    });
    await writeFile(path.join(directory, 'mine.jsonc'), '{}');
    const options = { ...instance, cwd: directory };
    await kiln(['config', 'edit', '--file', 'mine.jsonc', '--base', '2'], options);
    expect(instance.bodies.at(-1)).toEqual({ text: '{}', baseVersion: 2 });
    await kiln(['config', 'edit', '--file', '-'], { ...options, stdin: '{ }' });
    expect(instance.bodies.at(-1)).toEqual({ text: '{ }', baseVersion: 3 });
    expect((await kiln(['config', 'edit', '--file', 'nope'], options)).stderr).toContain(
      'cannot read nope: ENOENT',
    );
  });

  it('opens no editor where the configuration is a file of the operator', async () => {
    await using instance = await scriptedInstance({ 'GET /.api/site-config': fileView });
    const { exitCode, stderr } = await kiln(['config', 'edit'], { ...instance, env: await editor('true') });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('the site configuration is the file /etc/kiln/site.jsonc');
    await expect(openedPath()).rejects.toThrow('ENOENT');
  });
});

describe('the history of the site configuration', () => {
  it('is listed with who and when', async () => {
    const versions = [
      { ...latest, cause: 'rollback', restoredVersion: 1 },
      { ...latest, version: 1, cause: 'first start', user: null },
    ];
    await using instance = await scriptedInstance({
      'GET /.api/site-config/history': { versions, nextCursor: null },
    });
    const { stdout } = await kiln(['config', 'history', '-n', '5'], instance);
    expect(stdout).toMatch(/^VERSION +MADE +USER +CAUSE\n3 +.* +berta +rollback to 1\n1 +.* +first start\n$/);
    expect(instance.requests).toEqual(['GET /.api/site-config/history?first=5']);
  });

  it.each([
    [[], 'from=2&to=3'],
    [['1'], 'from=1&to=3'],
    [['1', '2'], 'from=1&to=2'],
  ])('is compared: diff %j', async (args, query) => {
    const diff = '--- version 2\n+++ version 3\n@@ -1,1 +1,1 @@\n-a\n+b\n';
    await using instance = await scriptedInstance({
      'GET /.api/site-config': view,
      'GET /.api/site-config/diff': { from: 2, to: 3, diff },
    });
    expect((await kiln(['config', 'diff', ...args], instance)).stdout).toBe(diff);
    expect(instance.requests.at(-1)).toBe(`GET /.api/site-config/diff?${query}`);
  });

  it('is rolled back', async () => {
    await using instance = await scriptedInstance({ 'POST /.api/site-config/rollback': saved });
    expect((await kiln(['config', 'rollback', '2'], instance)).stdout).toBe('version 4 is in force\n');
    expect(instance.bodies).toEqual([{ version: 2 }]);
  });
});

it('kiln config schema prints the schema as the instance has it', async () => {
  await using instance = await scriptedInstance({ 'GET /.api/site-config/schema': schema });
  expect(JSON.parse((await kiln(['config', 'schema'], instance)).stdout)).toEqual(schema);
});
