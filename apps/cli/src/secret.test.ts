import { PassThrough } from 'node:stream';
import type { SecretView } from '@kiln/protocol';
import { describe, expect, it } from 'vitest';
import { readSecretValue } from './secret-input.ts';
import { kiln, refuse, scriptedInstance } from './testing/scripted-instance.ts';

const view: SecretView = {
  scope: 'JOBS',
  key: 'NPM_TOKEN',
  version: 2,
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-02T00:00:00.000Z',
};
const set = { secret: view, notices: [] };

describe('kiln secret set', () => {
  it.each([
    ['hunter2\n', 'hunter2'],
    ['hunter2\r\n', 'hunter2'],
    ['-----BEGIN\nab=\n-----END\n\n', '-----BEGIN\nab=\n-----END\n'],
    [' spaces \t', ' spaces \t'],
  ])(
    'sends standard input %j, without the line end after it, and shows nothing of it',
    async (stdin, value) => {
      await using instance = await scriptedInstance({ 'PUT /.api/secrets/JOBS/NPM_TOKEN': set });
      const result = await kiln(['secret', 'set', 'NPM_TOKEN'], { ...instance, stdin });
      expect(result).toEqual({ exitCode: 0, stdout: 'NPM_TOKEN: version 2\n', stderr: '' });
      expect(instance.bodies).toEqual([{ value }]);
    },
  );

  it('takes a scope, and shows what is to be known about the value', async () => {
    await using instance = await scriptedInstance({
      'PUT /.api/secrets/BATCHES/NPM_TOKEN': { ...set, notices: ['fewer than 6 bytes'] },
    });
    const args = ['secret', 'set', '--scope', 'BATCHES', '--json', 'NPM_TOKEN'];
    const { stdout, stderr } = await kiln(args, { ...instance, stdin: 'abc' });
    expect(JSON.parse(stdout)).toEqual(view);
    expect(stderr).toBe('notice: fewer than 6 bytes\n');
  });

  it.each([
    ['', 'no value was given for KEY'],
    ['\n', 'no value was given for KEY'],
    ['x'.repeat(200_000), 'the value has more than 65536 bytes'],
    ['caf\xe9', 'the value is not UTF-8 text'],
  ])('refuses %.10j', async (text, message) => {
    const stdin = new PassThrough();
    stdin.end(Buffer.from(text, 'latin1'));
    const { signal } = new AbortController();
    await expect(
      readSecretValue('KEY', { stdin, stderr: new PassThrough(), interrupted: signal }),
    ).rejects.toThrow(message);
  });

  it('never takes the value as an argument', async () => {
    const { exitCode, stderr } = await kiln(['secret', 'set', 'KEY', 'hunter2'], { stdin: '' });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('a value is never an argument');
    expect(stderr).not.toContain('hunter2');
  });
});

describe('on a terminal the value', () => {
  function typing() {
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    const stderr = new PassThrough();
    const interruption = new AbortController();
    const value = readSecretValue('KEY', { stdin, stderr, interrupted: interruption.signal });
    return { stdin, value, interruption, shown: () => String(stderr.read()) };
  }

  it('is asked for and not shown', async () => {
    const { stdin, value, shown } = typing();
    stdin.write('hunterx');
    stdin.write('\x7f2\r');
    expect(await value).toBe('hunter2');
    expect(shown()).toBe('KEY: \n');
  });

  it.each([
    ['Control-C', '\x03'],
    ['Control-D', '\x04'],
  ])('is given up by %s', async (_, key) => {
    const { stdin, value } = typing();
    stdin.write(key);
    await expect(value).rejects.toThrow('interrupted');
  });

  it('is given up when the command is interrupted', async () => {
    const { value, interruption } = typing();
    interruption.abort();
    await expect(value).rejects.toThrow('interrupted');
  });
});

describe('kiln secret', () => {
  it('list shows everything but values', async () => {
    await using instance = await scriptedInstance({ 'GET /.api/secrets': { secrets: [view] } });
    const { stdout } = await kiln(['secret', 'list', '--scope', 'JOBS'], instance);
    expect(stdout).toMatch(/^KEY +SCOPE +VERSION +CHANGED\nNPM_TOKEN +JOBS +2 +\d.*\n$/);
    expect(instance.requests).toEqual(['GET /.api/secrets?scope=JOBS']);
  });

  it('remove says what it did, or why not', async () => {
    await using instance = await scriptedInstance({
      'DELETE /.api/secrets/JOBS/A': (_request, response) => response.writeHead(204).end(),
      'DELETE /.api/secrets/JOBS/B': (_request, response) =>
        refuse(response, 404, { code: 'unknown_secret', message: 'There is no secret B' }),
    });
    expect(await kiln(['secret', 'remove', 'A'], instance)).toMatchObject({
      exitCode: 0,
      stdout: 'A: removed\n',
    });
    expect(await kiln(['secret', 'remove', 'B'], instance)).toMatchObject({
      exitCode: 2,
      stderr: 'kiln: There is no secret B\n',
    });
  });

  it('uses lists who got what', async () => {
    const use = {
      scope: 'JOBS',
      key: 'A',
      version: 3,
      jobId: 7,
      attempt: 2,
      executor: 'host-1',
      user: null,
      cause: 'requested',
      usedAt: '2026-01-02T00:00:00.000Z',
    };
    await using instance = await scriptedInstance({
      'GET /.api/secret-uses': { uses: [use], nextCursor: null },
    });
    const { stdout } = await kiln(['secret', 'uses', 'A', '--limit', '5'], instance);
    expect(stdout.split('\n')[1]).toMatch(/ A +3 +7 \(attempt 2\) +requested +host-1$/);
    expect(instance.requests).toEqual(['GET /.api/secret-uses?first=5&key=A']);
  });

  it('rotate-key says which keys can go', async () => {
    await using instance = await scriptedInstance({
      'POST /.api/secrets/rotate-key': { keyId: 'aa', rewrapped: 12, retired: ['bb'] },
    });
    expect((await kiln(['secret', 'rotate-key'], instance)).stdout).toBe(
      'all secrets are encrypted with the key aa (12 were not)\nthe key bb is not needed any more\n',
    );
  });
});
