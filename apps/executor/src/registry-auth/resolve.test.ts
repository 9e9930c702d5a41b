import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RegistryAuthOptions, resolveRegistryAuth } from './resolve.ts';

const encoded = (pair: string) => Buffer.from(pair).toString('base64');
const jobAuth = { auths: { 'ghcr.io': { auth: encoded('job:one') } } };
const settingAuth = { auths: { 'quay.io': { auth: encoded('setting:two') } } };

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'registry-auth-'));
  await mkdir(join(home, '.docker'));
  await mkdir(join(home, 'bin'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

function resolve(options: Partial<RegistryAuthOptions>) {
  return resolveRegistryAuth({
    job: {},
    setting: undefined,
    homeDirectory: home,
    images: ['alpine:3', 'ghcr.io/acme/tool:1'],
    hostEnvironment: { PATH: `${join(home, 'bin')}:/usr/bin:/bin`, HOME: home },
    signal: new AbortController().signal,
    ...options,
  });
}

async function writeConfig(config: unknown): Promise<void> {
  const text = typeof config === 'string' ? config : JSON.stringify(config);
  await writeFile(join(home, '.docker', 'config.json'), text);
}

/** A credential helper that runs `script` with what it was asked in `$server`. */
async function installHelper(name: string, script: string): Promise<void> {
  const path = join(home, 'bin', `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\nread -r server\n[ "$1" = get ] || exit 9\n${script}\n`);
  await chmod(path, 0o755);
}

const answer = (user: string, secret: string) =>
  `printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" "${user}" "${secret}"`;

describe('precedence', () => {
  const userAuth = { auths: { 'docker.io': { auth: encoded('user:three') } } };

  it('takes the first source that has auths, without merging', async () => {
    await writeConfig(userAuth);
    expect(await resolve({ job: jobAuth, setting: settingAuth })).toMatchObject({
      source: 'job',
      auth: jobAuth,
    });
    expect(await resolve({ setting: settingAuth })).toMatchObject({ source: 'setting', auth: settingAuth });
    expect(await resolve({})).toMatchObject({ source: 'user', auth: userAuth });
  });

  it('passes over sources whose auths are empty', async () => {
    await writeConfig(userAuth);
    expect(await resolve({ job: { auths: {} }, setting: {} })).toMatchObject({ source: 'user' });
  });

  it('is nothing without any, and where the user does not count', async () => {
    expect(await resolve({})).toEqual({ source: 'none', auth: {}, notices: [] });
    await writeConfig(userAuth);
    expect(await resolve({ homeDirectory: undefined })).toEqual({ source: 'none', auth: {}, notices: [] });
  });
});

describe("the user's file", () => {
  it('keeps only what is user:password, and says what it leaves out', async () => {
    await writeConfig({
      auths: {
        'ghcr.io': { auth: encoded('a:b'), identitytoken: 'dropped' },
        'served-by-a-store.example': {},
        'broken.example': { auth: 'not base64 SECRET' },
      },
    });
    const { auth, notices } = await resolve({});
    expect(auth).toEqual({ auths: { 'ghcr.io': { auth: encoded('a:b') } } });
    expect(notices).toEqual([
      expect.stringMatching(
        /config\.json: auths\["broken\.example"\]: "auth" is not base64; it is not used$/,
      ),
    ]);
  });

  it.each([
    ['no JSON', '{"auths": {"SECRET'],
    ['another shape', '{"auths": "SECRET"}'],
  ])('is passed over with a notice that does not quote it: %s', async (_, text) => {
    await writeConfig(text);
    const { auth, notices } = await resolve({});
    expect(auth).toEqual({});
    expect(notices).toEqual([expect.stringContaining('is not a Docker config.json')]);
    expect(notices.join()).not.toContain('SECRET');
  });

  it('is passed over with a notice when it cannot be read', async () => {
    await mkdir(join(home, '.docker', 'config.json'));
    expect((await resolve({})).notices).toEqual([expect.stringContaining('cannot read')]);
  });
});

describe('credential helpers', () => {
  it('are asked for the registries of the images, the store for all others', async () => {
    await installHelper('cloud', answer('from-$server', 'cloud-password'));
    await installHelper('store', answer('stored', 'for $server'));
    await writeConfig({
      credHelpers: { 'ghcr.io': 'cloud', 'never-asked.example': 'missing' },
      credsStore: 'store',
      auths: { 'https://index.docker.io/v1/': {}, 'ghcr.io': {} },
    });
    expect(await resolve({})).toEqual({
      source: 'user',
      auth: {
        auths: {
          'https://index.docker.io/v1/': { auth: encoded('stored:for https://index.docker.io/v1/') },
          'ghcr.io': { auth: encoded('from-ghcr.io:cloud-password') },
        },
      },
      notices: [],
    });
  });

  it('that have none leave the registry anonymous', async () => {
    await installHelper('store', 'echo "credentials not found in native keychain"; exit 1');
    await writeConfig({ credsStore: 'store' });
    expect(await resolve({})).toEqual({ source: 'none', auth: {}, notices: [] });
  });

  it.each([
    ['are missing', undefined, 'cannot run docker-credential-cloud'],
    ['fail', 'echo SECRET; echo "not logged in" >&2; exit 3', 'failed with exit code 3: not logged in'],
    ['answer with something else', 'echo SECRET', 'did not answer with credentials'],
    ['have an identity token', answer('<token>', 'SECRET'), 'identity token'],
    ['never stop talking', 'yes SECRET', 'answered with too much'],
  ])('that %s are a notice', async (_, script, expected) => {
    if (script !== undefined) await installHelper('cloud', script);
    await writeConfig({ credHelpers: { 'ghcr.io': 'cloud' } });
    const { auth, notices } = await resolve({});
    expect(auth).toEqual({});
    expect(notices).toEqual([expect.stringContaining(expected)]);
    expect(notices.join()).toContain('no credentials for ghcr.io');
    expect(notices.join()).not.toContain('SECRET');
  });

  it('are programs in the PATH, never paths or options', async () => {
    await writeConfig({ credHelpers: { 'ghcr.io': '../../evil' } });
    expect((await resolve({})).notices).toEqual([
      expect.stringContaining('is no name of a credential helper'),
    ]);
  });

  it('end with the job', async () => {
    await installHelper('cloud', 'sleep 100');
    await writeConfig({ credHelpers: { 'ghcr.io': 'cloud' } });
    const controller = new AbortController();
    const resolved = resolve({ signal: controller.signal });
    setTimeout(() => controller.abort(new Error('canceled')), 50);
    expect(await resolved).toEqual({ source: 'none', auth: {}, notices: [] });
  });
});
