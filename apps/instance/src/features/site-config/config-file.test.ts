import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openConfigFile } from './config-file.ts';

let dataDirectory: string;
let lines: { level: number; msg: string; problem?: string }[];
const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });

beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'kiln-site-config-'));
  lines = [];
});
afterEach(() => rm(dataDirectory, { recursive: true, force: true }));

describe('openConfigFile', () => {
  test('never writes a file of the operator; without a secret in it executors are not configured', async () => {
    const file = join(dataDirectory, 'mine.jsonc');
    await expect(openConfigFile({ file, log })).rejects.toThrow(/mine\.jsonc:1: cannot be read/);
    await writeFile(file, '{"externalURL": "https://kiln.example.com"}');
    await using config = await openConfigFile({ file, log });
    expect(config.current().executorTokens).toEqual([]);
    expect(await readFile(file, 'utf8')).toBe('{"externalURL": "https://kiln.example.com"}');
  });

  test('applies edits, also by replacing the file, and keeps what is in force when an edit is broken', async () => {
    const file = join(dataDirectory, 'mine.jsonc');
    await writeFile(file, '{"retention.jobsDays": 1}');
    await using config = await openConfigFile({ file, log, rereadSeconds: 60 });
    const jobsDays = () => config.current().retention.jobsDays;

    await writeFile(`${file}.new`, '{"retention.jobsDays": 2}');
    await rename(`${file}.new`, file);
    await vi.waitFor(() => expect(jobsDays()).toBe(2), { timeout: 5000 });

    await writeFile(file, '{"retention.jobsDays": }');
    await vi.waitFor(() => expect(lines.some((line) => line.level === 50)).toBe(true), { timeout: 5000 });
    expect(lines.find((line) => line.level === 50)?.problem).toContain('mine.jsonc:1: not valid JSON here');
    expect(jobsDays()).toBe(2);

    await rm(file);
    await config.reload();
    expect(jobsDays()).toBe(2);

    await writeFile(file, '{"retention.jobsDays": 3}');
    await vi.waitFor(() => expect(jobsDays()).toBe(3), { timeout: 5000 });
  });

  test('finds changes that are not announced, such as those behind a link, at intervals', async () => {
    const target = join(dataDirectory, 'elsewhere', 'site.jsonc');
    const file = join(dataDirectory, 'link.jsonc');
    await mkdir(dirname(target));
    await symlink(target, file);
    await writeFile(target, '{"retention.jobsDays": 1}');
    await using config = await openConfigFile({ file, log, rereadSeconds: 0.05 });
    await writeFile(target, '{"retention.jobsDays": 2}');
    await vi.waitFor(() => expect(config.current().retention.jobsDays).toBe(2), { timeout: 5000 });
  });

  test('a mistake stops the start', async () => {
    const file = join(dataDirectory, 'mine.jsonc');
    await writeFile(file, '{"nope": 1}');
    await expect(openConfigFile({ file, log })).rejects.toThrow(/mine\.jsonc:1: unknown key "nope"/);
  });

  test('shows its text without secrets, whose marks stay the same while it is edited', async () => {
    const file = join(dataDirectory, 'mine.jsonc');
    const secret = 'hunter2-hunter2-hunter2';
    await writeFile(file, `{"executors.accessToken": "${secret}"}`);
    await using config = await openConfigFile({ file, log, rereadSeconds: 60 });
    const before = await config.show();
    expect(before).toEqual({
      text: expect.stringMatching(/"hidden secret [0-9a-f]{8}"/),
      file,
      latest: null,
    });
    await writeFile(file, `// ${secret}\n{"executors.accessTokens": ["${secret}"]}`);
    await config.reload();
    const mark = /hidden secret [0-9a-f]{8}/.exec(before.text)?.[0];
    expect((await config.show()).text).toBe(`// ${mark}\n{"executors.accessTokens": ["${mark}"]}`);
    expect(JSON.stringify(lines)).not.toContain(secret);
    expect(config.history).toBeUndefined();
  });
});
