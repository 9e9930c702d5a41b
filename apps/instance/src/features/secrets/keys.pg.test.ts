import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../../test/kit/database.ts';
import { createKeyRing, type KeyRing, parseKeys } from './key-ring.ts';
import { openKeyRing } from './open-key-ring.ts';
import { createSealedTexts } from './sealed-texts.ts';
import { createSecrets, type Secrets } from './secrets.ts';

const [a, b] = ['a'.repeat(64), 'b'.repeat(64)];
const idOf = (key: string) => createKeyRing(parseKeys(key)).currentId;

let db: TestDatabase;
let directory: string;
let lines: string[];
const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) });
beforeEach(async () => {
  db = await startTestDatabase();
  directory = await mkdtemp(join(tmpdir(), 'kiln-keys-'));
  lines = [];
});
afterEach(async () => {
  await db[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

interface OpenOptions {
  key?: string;
  keyFile?: string;
  dataDirectory?: string;
  forgetSecrets?: boolean;
}

const open = (options: OpenOptions = {}): Promise<KeyRing> =>
  openKeyRing({ database: db.database, dataDirectory: directory, log, ...options });

const secretsWith = (ring: KeyRing): Secrets => createSecrets({ database: db.database, ring, log });

/** What a job of its own gets as TOKEN. */
async function given(ring: KeyRing): Promise<unknown> {
  const request = { jobId: 1, attempt: 1, executor: 'e', userId: null, keys: ['TOKEN'] };
  const answer = (await secretsWith(ring).give('JOBS', [request])).get(1);
  return answer && 'values' in answer ? answer.values.get('TOKEN') : answer;
}

describe('the key of an instance', () => {
  test('is made at the first start, for its owner only, and kept', async () => {
    const ring = await open();
    const path = join(directory, 'secret-key');
    const text = await readFile(path, 'utf8');
    expect(text).toMatch(/^[0-9a-f]{64}\n$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await open()).ids).toEqual(ring.ids);
    expect(await readFile(path, 'utf8')).toBe(text);
    expect(lines.join()).not.toContain(text.trim());
  });

  test('comes from the environment or a file of the operator, which is only read', async () => {
    expect((await open({ key: a })).ids).toEqual([idOf(a)]);
    const keyFile = join(directory, 'mine');
    await writeFile(keyFile, `${a}\n`, { mode: 0o600 });
    expect((await open({ keyFile })).ids).toEqual([idOf(a)]);
    await expect(stat(join(directory, 'secret-key'))).rejects.toThrow('ENOENT');
    await expect(open({ key: a, keyFile })).rejects.toThrow('KILN_SECRET_KEY and KILN_SECRET_KEY_FILE');
    await expect(open({ keyFile: join(directory, 'nope') })).rejects.toThrow(/cannot be read: ENOENT.*nope/);
  });

  test('in a file that everybody can read is warned of', async () => {
    const keyFile = join(directory, 'open');
    await writeFile(keyFile, a);
    await open({ keyFile });
    expect(lines.join()).toContain('everybody on this machine can read the key');
  });

  test('that is none stops the start, and is not quoted', async () => {
    const opening = open({ key: 'SECRET' });
    await expect(opening).rejects.toThrow('KILN_SECRET_KEY: is no key: a key is 64 hexadecimal characters');
    await expect(opening).rejects.not.toThrow('SECRET is');
    await writeFile(join(directory, 'secret-key'), '');
    await expect(open()).rejects.toThrow('secret-key: holds no key');
  });

  test('that is another one stops the start, also before there is any secret', async () => {
    await open({ key: a });
    const opening = open({ key: b });
    await expect(opening).rejects.toThrow(
      `encrypted with the key ${idOf(a)}, and KILN_SECRET_KEY holds ${idOf(b)}. Put the key back`,
    );
    await expect(opening).rejects.not.toThrow(a.slice(0, 20));
    await expect(open()).rejects.toThrow(/secret-key is not there\. Put the key back/);
    // Nothing was made in its place, which would have hidden the loss from the next start.
    await expect(stat(join(directory, 'secret-key'))).rejects.toThrow('ENOENT');
  });

  test('that is lost can be given up with what it encrypts, and nothing else', async () => {
    const both = await open({ key: a });
    await secretsWith(both).set('JOBS', 'OLD', 'hunter2');
    await secretsWith(await open({ key: `${b} ${a}` })).set('JOBS', 'TOKEN', 'hunter2');
    const ring = await open({ key: b, forgetSecrets: true });
    expect((await secretsWith(ring).list(undefined)).map(({ key }) => key)).toEqual(['TOKEN']);
    expect(await given(ring)).toBe('hunter2');
    expect(lines.join()).toContain('"secrets":[{"key":"OLD","scope":"JOBS"}]');
    await open({ forgetSecrets: true });
    expect(await secretsWith(await open()).list(undefined)).toEqual([]);
    await open({ forgetSecrets: true });
  });

  test('is one for all instances, however they start together', async () => {
    const same = await Promise.all(Array.from({ length: 8 }, () => open({ key: a })));
    expect(new Set(same.map((ring) => ring.currentId))).toEqual(new Set([idOf(a)]));

    await db.database.query('delete from secret_keys');
    const directories = await Promise.all(
      Array.from({ length: 8 }, () => mkdtemp(join(directory, 'instance-'))),
    );
    const results = await Promise.allSettled(directories.map((dataDirectory) => open({ dataDirectory })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results)
      if (result.status === 'rejected')
        expect(String(result.reason)).toContain('all instances on this database share');
  });
});

describe('a rotation', () => {
  test('moves all secrets to the new key, after which the old one is not needed', async () => {
    const old = await open({ key: a });
    for (let n = 0; n < 250; n++) await secretsWith(old).set('JOBS', `KEY_${n}`, `hunter2-${n}`);
    await secretsWith(old).set('JOBS', 'TOKEN', 'hunter2');

    const both = await open({ key: `${b} ${a}` });
    expect(await given(both)).toBe('hunter2');
    expect(await secretsWith(both).rotateKey()).toEqual({
      keyId: idOf(b),
      rewrapped: 251,
      retired: [idOf(a)],
    });
    expect(await secretsWith(both).rotateKey()).toEqual({ keyId: idOf(b), rewrapped: 0, retired: [] });
    const ring = await open({ key: b });
    expect(await given(ring)).toBe('hunter2');
    expect((await secretsWith(ring).list('JOBS')).every(({ version }) => version === 1)).toBe(true);
    await expect(open({ key: a })).rejects.toThrow(`encrypted with the key ${idOf(b)}`);
  });

  test('does not begin before every instance has the new key', async () => {
    const first = await open({ key: a });
    await open({ key: `${b} ${a}` });
    await expect(open({ key: a })).rejects.toThrow(idOf(b));
    await expect(open({ key: b })).rejects.toThrow(idOf(a));
    // One that runs on with the old key alone cannot give what it does not have the key of: the job waits for another.
    await secretsWith(await open({ key: `${b} ${a}` })).set('JOBS', 'TOKEN', 'hunter2');
    expect(await given(first)).toEqual({
      problem: 'the instance lacks the key of the secret TOKEN',
      retryAfterSeconds: 10,
    });
    await expect(secretsWith(first).rotateKey()).rejects.toMatchObject({ code: 'unreadable_secret' });
  });

  test('is not undone by an instance that still encrypts with the old key', async () => {
    const old = await open({ key: a });
    await secretsWith(old).set('JOBS', 'TOKEN', 'hunter2');
    await secretsWith(await open({ key: `${b} ${a}` })).rotateKey();
    await expect(secretsWith(old).set('JOBS', 'TOKEN', 'hunter3')).rejects.toMatchObject({
      status: 503,
      code: 'secret_key_retired',
    });
    expect(await given(await open({ key: b }))).toBe('hunter2');
  });

  test('loses no value that is set meanwhile', async () => {
    const old = await open({ key: a });
    const both = await open({ key: `${b} ${a}` });
    await Promise.all(
      Array.from({ length: 40 }, (_, n) => secretsWith(old).set('JOBS', `KEY_${n}`, 'hunter2')),
    );
    const setting = Array.from({ length: 40 }, (_, n) =>
      secretsWith(both).set('JOBS', `KEY_${n}`, `hunter3-${n}`),
    );
    const [rotated] = await Promise.all([secretsWith(both).rotateKey(), ...setting]);
    expect(rotated.retired).toEqual([idOf(a)]);
    const ring = await open({ key: b });
    const keys = Array.from({ length: 40 }, (_, n) => `KEY_${n}`);
    const answer = await secretsWith(ring).give('JOBS', [
      { jobId: 1, attempt: 1, executor: 'e', userId: null, keys },
    ]);
    expect(answer.get(1)).toMatchObject({ values: new Map(keys.map((key, n) => [key, `hunter3-${n}`])) });
  });
});

test('of many who set the same secret at once each makes a version', async () => {
  const secrets = secretsWith(await open({ key: a }));
  const set = await Promise.all(
    Array.from({ length: 20 }, (_, n) => secrets.set('JOBS', 'TOKEN', `hunter2-${n}`)),
  );
  expect(set.map(({ secret }) => secret.version).sort((x, y) => x - y)).toEqual(
    Array.from({ length: 20 }, (_, n) => n + 1),
  );
});

describe('texts of other rooms', () => {
  const keep = (ring: KeyRing, text: string) =>
    db.database.transaction((transaction) => createSealedTexts(ring).keep(transaction, text));
  const read = (ring: KeyRing, id: string) => createSealedTexts(ring).read(db.database, id);

  test('are encrypted, each bound to its row, and rotated with the secrets', async () => {
    const old = await open({ key: a });
    const [one, two] = [await keep(old, 'hunter2-one'), await keep(old, 'hunter2-two')];
    const rows = await db.database.query<{ sealed_value: Buffer }>('select * from sealed_texts');
    for (const { sealed_value } of rows) expect(sealed_value.toString('latin1')).not.toContain('hunter2');

    const both = await open({ key: `${b} ${a}` });
    expect(await secretsWith(both).rotateKey()).toEqual({ keyId: idOf(b), rewrapped: 2, retired: [idOf(a)] });
    const ring = await open({ key: b });
    expect(await read(ring, one)).toBe('hunter2-one');
    await db.database.query(
      `update sealed_texts set (key_id, wrapped_key, sealed_value) =
         (select key_id, wrapped_key, sealed_value from sealed_texts where id = $2) where id = $1`,
      [one, two],
    );
    await expect(read(ring, one)).rejects.toThrow('belongs elsewhere');
    expect(await read(ring, two)).toBe('hunter2-two');
  });

  test('keep their key in force, and are not encrypted with one that is retired', async () => {
    const old = await open({ key: a });
    const both = await open({ key: `${b} ${a}` });
    await keep(old, 'hunter2');
    await expect(secretsWith(old).rotateKey()).resolves.toMatchObject({ retired: [idOf(b)] });
    await open({ key: `${b} ${a}` });
    await keep(both, 'hunter2');
    await expect(secretsWith(old).rotateKey()).rejects.toMatchObject({ code: 'unreadable_secret' });
    await secretsWith(both).rotateKey();
    await expect(keep(old, 'hunter2')).rejects.toMatchObject({ status: 503, code: 'secret_key_retired' });
  });

  test('are given up with a key that is lost', async () => {
    const lost = await keep(await open({ key: a }), 'hunter2');
    const ring = await open({ key: b, forgetSecrets: true });
    await expect(read(ring, lost)).rejects.toThrow('there is no sealed text');
    expect(lines.join()).toContain('"texts":1');
  });
});
