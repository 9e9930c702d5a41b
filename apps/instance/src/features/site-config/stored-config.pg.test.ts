import { lstat, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../../test/kit/database.ts';
import { createSealedTexts, openKeyRing, type SealedTexts } from '../secrets/index.ts';
import { keepConfig } from './sealed-config.ts';
import type { SiteConfig } from './site-config.ts';
import { insertVersion } from './store.ts';
import { openStoredConfig } from './stored-config.ts';

const secret = 'the-shared-secret-of-executors';

let db: TestDatabase;
let directory: string;
let sealedTexts: SealedTexts;
let lines: { level: number; msg: string; problem?: string }[];
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });

beforeEach(async () => {
  db = await startTestDatabase();
  directory = await mkdtemp(join(tmpdir(), 'kiln-stored-config-'));
  lines = [];
  sealedTexts = createSealedTexts(
    await openKeyRing({ database: db.database, dataDirectory: directory, key: 'a'.repeat(64), log }),
  );
});
afterEach(async () => {
  await db[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const open = (rereadSeconds?: number): Promise<SiteConfig> =>
  openStoredConfig({
    database: db.database,
    dataDirectory: directory,
    sealedTexts,
    log,
    ...(rereadSeconds === undefined ? {} : { rereadSeconds }),
  });

/** As an instance of another version of Kiln would, which knows other keys. */
const insert = (text: string): Promise<unknown> =>
  db.database.transaction(async (transaction) => {
    const textId = await keepConfig(sealedTexts, transaction, { text, secrets: new Map() });
    return insertVersion(transaction, { textId, cause: 'edit' });
  });

const atOnce = { timeout: 10_000, interval: 20 };

describe('a configuration in the database', () => {
  test('is made once, with a new shared secret, however many instances start together', async () => {
    const configs = await Promise.all(Array.from({ length: 8 }, () => open()));
    const tokens = configs.map((config) => config.current().executorTokens);
    await Promise.all(configs.map((config) => config[Symbol.asyncDispose]()));
    expect(tokens[0]).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect(new Set(tokens.flat()).size).toBe(1);
    expect(await db.database.query('select 1 from site_config_versions')).toHaveLength(1);
    expect(JSON.stringify(lines)).not.toContain(tokens[0]?.[0]);
  });

  test('is followed without a notification too', async () => {
    await using config = await open(0.05);
    const textId = await db.database.transaction((transaction) =>
      keepConfig(sealedTexts, transaction, { text: '{"retention.jobsDays": 8}', secrets: new Map() }),
    );
    await db.database.query(
      `insert into site_config_versions (version, text_id, cause) values (2, $1, 'edit')`,
      [textId],
    );
    await vi.waitFor(() => expect(config.current().retention.jobsDays).toBe(8), atOnce);
  });

  test('of another version of Kiln leaves what is in force, and stops a start with what to do', async () => {
    await using config = await open();
    const { executorTokens } = config.current();
    await insert('{\n"executors.fromTheFuture": true}');
    await vi.waitFor(() => expect(lines.some(({ level }) => level === 50)).toBe(true), atOnce);
    expect(lines.find(({ level }) => level === 50)?.problem).toContain('version 2:2: unknown key');
    expect(config.current().executorTokens).toEqual(executorTokens);
    await expect(open()).rejects.toThrow(
      /version 2:2: unknown key "executors\.fromTheFuture".*KILN_SITE_CONFIG_FILE/s,
    );
    await insert('{"retention.jobsDays": 9}');
    await vi.waitFor(() => expect(config.current().retention.jobsDays).toBe(9), atOnce);
  });

  test('is made anew when the key that it was encrypted with is given up', async () => {
    const before = await open();
    await before[Symbol.asyncDispose]();
    const options = { database: db.database, dataDirectory: directory, key: 'b'.repeat(64), log };
    sealedTexts = createSealedTexts(await openKeyRing({ ...options, forgetSecrets: true }));
    await using after = await open();
    expect(after.current().executorTokens).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect(after.current().executorTokens).not.toEqual(before.current().executorTokens);
    expect((await after.show()).latest).toMatchObject({ version: 1, cause: 'first start' });
  });

  test('is that of a file that cannot be set aside, which is told', async () => {
    const path = join(directory, 'site-config.jsonc');
    await writeFile(path, `{"executors.accessToken": "${secret}"}`);
    await mkdir(`${path}.taken-over`);
    await using config = await open();
    expect(config.current().executorTokens).toEqual([secret]);
    expect(lines).toContainEqual(
      expect.objectContaining({
        level: 40,
        path,
        msg: expect.stringContaining('could not set the file aside'),
      }),
    );
    expect(await readFile(path, 'utf8')).toContain(secret);
    await using again = await open();
    expect(again.current().executorTokens).toEqual([secret]);
  });

  test('is that of a file somewhere else, whose rights are left alone', async () => {
    const elsewhere = join(directory, 'of-the-operator.jsonc');
    await writeFile(elsewhere, `{"executors.accessToken": "${secret}"}`, { mode: 0o640 });
    const before = await stat(elsewhere);
    const path = join(directory, 'site-config.jsonc');
    await symlink(elsewhere, path);
    await using config = await open();
    expect(config.current().executorTokens).toEqual([secret]);
    expect((await lstat(`${path}.taken-over`)).isSymbolicLink()).toBe(true);
    expect((await stat(elsewhere)).mode).toBe(before.mode);
  });

  test('is not begun with a file that has mistakes', async () => {
    await writeFile(join(directory, 'site-config.jsonc'), `{"executors.acessToken": "${secret}"}`);
    await expect(open()).rejects.toThrow(/site-config\.jsonc:1: unknown key "executors\.acessToken"/);
    expect(await db.database.query('select 1 from site_config_versions')).toEqual([]);
  });
});
