import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodings } from '../kit/encodings.ts';
import { testImages } from '../kit/images.ts';
import { databaseText, type HostileSite, startHostileSite } from './site.ts';

/** Executor secrets that jobs have used, and one of the site configuration, looked for in everything that instance and executor keep or write. */

const odd = `pä55 wörd/of+the=job & "mö're" <\\$x> 😀`;
const values = {
  TOKEN: `${odd} ${randomBytes(8).toString('hex')}`,
  // Longer than what Postgres keeps in a row as it is.
  PEM: `-----BEGIN KEY-----\n${randomBytes(6000).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END KEY-----`,
};
const registryPassword = `registry-${randomBytes(8).toString('hex')}`;
const registries = {
  auths: { 'registry.invalid': { auth: Buffer.from(`user:${registryPassword}`).toString('base64') } },
};
const replaced = `replaced ${odd}`;
/** Of executors, in the site configuration. */
const sharedSecret = `shared-${randomBytes(12).toString('hex')}`;
/** Stored as it is, with the job: what proves that looking finds what is there. */
const marker = `marker-${randomBytes(8).toString('hex')}`;

let site: HostileSite;
let log: string;
let database: Buffer;
beforeAll(async () => {
  site = await startHostileSite({
    instanceEnv: { KILN_LOG_LEVEL: 'debug' },
    env: { EXECUTOR_ENABLE_JOB_AUDIT_LOGGING: 'true' },
  });
  await set('TOKEN', replaced);
  for (const [key, value] of Object.entries(values)) await set(key, value);
  await set('DOCKER_AUTH_CONFIG', JSON.stringify(registries));
  const shared = await site.site.kiln(['config', 'set', 'executors.accessTokens'], {
    stdin: JSON.stringify([sharedSecret]),
  });
  expect(shared).toMatchObject({ code: 0 });
  const id = await site.submit({
    steps: [
      {
        image: testImages.busybox,
        run: [
          `echo ${marker}`,
          'printf "%s\\n" "$TOKEN" "$PEM"',
          'printf %s "$TOKEN" | base64 -w 0; echo; printf "x%s" "$TOKEN" | base64 -w 0; echo',
          'printf %s "$TOKEN" | hexdump -v -e \'1/1 "%02x"\'; echo',
          `echo ${registryPassword.slice(0, 12)}$(printf %s ${registryPassword.slice(12)}) >&2`,
          'echo "no such file: $TOKEN" >&2; exit 3',
        ].join('\n'),
      },
    ],
    secrets: ['TOKEN', 'PEM'],
  });
  const job = await site.when(id, ({ state }) => state === 'failed' || state === 'completed');
  await site.expectJob(job, { state: 'failed', failureMessage: expect.stringContaining('exit code 3') });
  log = (await site.log(id)).toString();
  // Fails before it is run: what a refusal says goes to logs too.
  await site.site.kiln(['secret', 'set', 'DOCKER_AUTH_CONFIG'], { stdin: `{"auths": {"${values.TOKEN}` });
  database = Buffer.from(await databaseText(site.site.instance.dataDirectory));
  // So that everything is in files, and in the write-ahead log.
  await site.executor.stop();
  await site.site.instance[Symbol.asyncDispose]();
});
afterAll(() => site?.[Symbol.asyncDispose]());

async function set(key: string, value: string): Promise<void> {
  const { code, stdout, stderr } = await site.site.kiln(['secret', 'set', key], { stdin: value });
  if (code !== 0) throw new Error(stderr);
  expect(stdout + stderr).not.toContain(value);
}

const needles = (text: string) =>
  Object.entries(encodings).map(([name, encode]) => ({ name, bytes: encode(text) }));

describe.each([
  ['a value', values.TOKEN],
  ['a value that was replaced', replaced],
  ['a value of several KiB', values.PEM],
  ['a line of it', values.PEM.split('\n')[40] ?? ''],
  ['the password of a registry', registryPassword],
  ['a shared secret in the site configuration', sharedSecret],
])('%s', (_, text) => {
  it('is known in more than 20 forms', () => {
    expect(text.length).toBeGreaterThan(20);
    expect(needles(text).length).toBeGreaterThan(20);
    for (const { name, bytes } of needles(text)) expect(bytes.length, name).toBeGreaterThan(20);
  });

  it('is in no dump of the database', () => {
    expect(database.includes(marker)).toBe(true);
    expect(database.includes('"DOCKER_AUTH_CONFIG"')).toBe(true);
    for (const { name, bytes } of needles(text)) expect(database.includes(bytes), name).toBe(false);
  });

  it('is in no file of the instance, its write-ahead log and log included, and of no executor', async () => {
    const foundMarker: string[] = [];
    for (const path of await files(site.site.directory)) {
      const content = await readFile(path);
      if (content.includes(marker)) foundMarker.push(path);
      for (const { name, bytes } of needles(text))
        expect(content.includes(bytes), `${name} in ${path}`).toBe(false);
    }
    expect(foundMarker.some((path) => path.includes('/pg_wal/'))).toBe(true);
    expect(foundMarker.some((path) => path.includes('/base/'))).toBe(true);
  });

  it('is in no log of a job', () => {
    expect(log).toContain(marker);
    for (const { name, bytes } of needles(text)) expect(log.includes(bytes.toString()), name).toBe(false);
  });
});

it('says in the log of the job what was masked', () => {
  expect(log).toContain(`stdout: \${{ secrets.TOKEN }}\n`);
  expect(log).toContain(`no such file: \${{ secrets.TOKEN }}`);
});

async function files(below: string): Promise<string[]> {
  const entries = await readdir(below, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
