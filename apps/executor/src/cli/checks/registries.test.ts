import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSettings, thisHost } from '../../env/index.ts';
import { checkRegistries } from './registries.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'registries-'));
  await mkdir(join(home, '.docker'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const encoded = (pair: string) => ({ auth: Buffer.from(pair).toString('base64') });

async function check(runtime: string, more: Record<string, string> = {}) {
  const env = {
    EXECUTOR_FRONTEND_URL: 'http://127.0.0.1:3080',
    EXECUTOR_FRONTEND_PASSWORD: 'x'.repeat(20),
    EXECUTOR_QUEUE_NAME: 'jobs',
    HOME: home,
    ...more,
  };
  const checks = await checkRegistries(readSettings(env, thisHost(env)).settings, { name: runtime }, env);
  return checks.map(({ state, message }) => `${state}: ${message}`);
}

describe('checkRegistries', () => {
  it('says whose credentials count', async () => {
    expect(await check('docker')).toEqual([
      'ok: jobs without credentials of their own get public images only',
    ]);
    const auths = { 'r.example': encoded('u:SECRET') };
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths }));
    expect(await check('docker')).toEqual([
      'ok: jobs without credentials of their own have those of .docker/config.json of the user who runs the executor (r.example)',
    ]);
    const setting = { auths: { 'a.example': encoded('u:p'), 'b.example:5000': encoded('u:p') } };
    expect(await check('docker', { EXECUTOR_DOCKER_AUTH_CONFIG: JSON.stringify(setting) })).toEqual([
      'ok: jobs without credentials of their own have those of EXECUTOR_DOCKER_AUTH_CONFIG (a.example, b.example:5000)',
    ]);
  });

  it('warns of a file that microVMs do not use, until they may', async () => {
    expect(await check('microvm')).toHaveLength(1);
    const auths = { 'r.example': encoded('u:SECRET') };
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths }));
    expect(await check('microvm')).toEqual([
      expect.stringMatching(
        /^warning: .*\.docker\/config\.json is not used for jobs in microVMs: .* public images only$/,
      ),
    ]);
    expect(await check('microvm', { EXECUTOR_MICROVM_DOCKER_CONFIG: 'true' })).toEqual([
      expect.stringContaining('(r.example)'),
    ]);
  });

  it('names what is wrong with the file, and quotes none of it', async () => {
    const auths = { 'r.example': encoded('u:SECRET\n'), 's.example': { auth: 'SECRET!' } };
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths }));
    const checks = await check('docker');
    expect(checks).toEqual([
      expect.stringMatching(/^ok: .* has no static ones that can be used/),
      expect.stringMatching(/^warning: .*auths\["r\.example"\]: decoded "auth" ends in a newline/),
      expect.stringMatching(/^warning: .*auths\["s\.example"\]: "auth" is not base64/),
    ]);
    expect(checks.join()).not.toMatch(/SECRET/);
  });
});
