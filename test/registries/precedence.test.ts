import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DockerAuthConfig } from '@kiln/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readSettings, thisHost } from '../../apps/executor/src/env/index.ts';
import { resolveRegistryAuth, userConfigHome } from '../../apps/executor/src/registry-auth/index.ts';
import { type Engine, openEngine } from '../../apps/executor/src/runtimes/docker/engine.ts';
import { openImages } from '../../apps/executor/src/runtimes/docker/images.ts';
import { openImageStore } from '../../apps/executor/src/runtimes/microvm/images/index.ts';
import {
  type DockerRegistry,
  type RegistryUser,
  registryUsers,
  startDockerRegistry,
} from '../kit/docker-registry.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { madeImage } from '../kit/made-images.ts';

/**
 * Whose credentials a job's images are got with: the way from the three sources to two registries, as each runtime
 * goes it. What runs in the images has no part in it, so nothing is run.
 */
let dockerd: Awaited<ReturnType<typeof startTestDockerd>>;
let engine: Engine;
let registries: [DockerRegistry, DockerRegistry];
let home: string;
let images: string[];

beforeAll(async () => {
  dockerd = await startTestDockerd();
  engine = openEngine(dockerd.socketPath);
  registries = [
    await startDockerRegistry(dockerd.networkNamespace),
    await startDockerRegistry(dockerd.networkNamespace),
  ];
  for (const [index, registry] of registries.entries())
    await registry.push('private/tool', '1', madeImage([[{ path: 'a', content: `of registry ${index}` }]]));
  images = registries.map(({ host }) => `${host}/private/tool:1`);
});
afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
  for (const registry of registries ?? []) await registry[Symbol.asyncDispose]();
  await dockerd?.stop();
});
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'registries-'));
  await mkdir(join(home, '.docker'));
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
  for (const registry of registries) {
    registry.requests.length = 0;
    await registry.keepUsers(registryUsers);
  }
});

const encoded = (user: RegistryUser | 'stranger', password = 'password') => ({
  auth: Buffer.from(`${user}:${password}`).toString('base64'),
});
const everywhere = (user: RegistryUser): DockerAuthConfig => ({
  auths: Object.fromEntries(registries.map(({ host }) => [host, encoded(user)])),
});

interface Sources {
  /** The secret DOCKER_AUTH_CONFIG, as the job's document carries it. */
  secret?: DockerAuthConfig | undefined;
  /** EXECUTOR_DOCKER_AUTH_CONFIG. */
  setting?: DockerAuthConfig | undefined;
  /** ~/.docker/config.json. */
  file?: object | undefined;
  /** Other settings of the executor. */
  env?: Record<string, string>;
}

type Runtime = 'docker' | 'microvm';

/** What became of getting both images as a job does: the users that each registry saw, or its refusal. */
async function outcomes(runtime: Runtime, sources: Sources): Promise<string[]> {
  const env = {
    EXECUTOR_FRONTEND_URL: 'http://127.0.0.1:3080',
    EXECUTOR_FRONTEND_PASSWORD: 'x'.repeat(20),
    EXECUTOR_QUEUE_NAME: 'jobs',
    HOME: home,
    ...(sources.setting ? { EXECUTOR_DOCKER_AUTH_CONFIG: JSON.stringify(sources.setting) } : {}),
    ...sources.env,
  };
  const { settings } = readSettings(env, thisHost(env));
  if (sources.file) await writeFile(join(home, '.docker', 'config.json'), JSON.stringify(sources.file));
  const { auth } = await resolveRegistryAuth({
    job: sources.secret ?? {},
    setting: settings.dockerAuthConfig,
    homeDirectory: userConfigHome({ name: runtime }, settings, env),
    images,
    hostEnvironment: { HOME: home, PATH: `${home}:/usr/bin:/bin` },
    signal: AbortSignal.timeout(60_000),
  });
  const resolve = resolverOf(runtime);
  return Promise.all(
    registries.map(async ({ host, requests }) => {
      try {
        await resolve(`${host}/private/tool:1`, auth);
      } catch (error) {
        return (
          /refuses .*(without credentials|with the credentials given)/.exec(String(error))?.[1] ??
          String(error)
        );
      }
      const seen = requests.flatMap(({ authorization }) => authorization ?? []);
      const users = seen.map(
        (text) => Buffer.from(text.replace('Basic ', ''), 'base64').toString().split(':')[0],
      );
      return [...new Set(users)].join(' and ');
    }),
  );
}

/** As a job of its own: what earlier ones were allowed is not remembered, what they got is. */
function resolverOf(runtime: Runtime): (image: string, auth: DockerAuthConfig) => Promise<void> {
  const notice = (): void => undefined;
  const signal = AbortSignal.timeout(60_000);
  if (runtime === 'docker') {
    const opened = openImages(engine, { allowLocalImages: false });
    return async (image, auth) => void (await opened.resolve(image, auth, notice, signal));
  }
  const store = openImageStore({
    directory: join(home, 'images'),
    allowLocalImages: false,
    registryMirrorURLs: [],
    maxBytes: 2 ** 30,
  });
  return async (image, auth) => {
    await using _ = await store.resolve(image, auth, notice, signal);
  };
}

const none = ['without credentials', 'without credentials'];
const both = (user: RegistryUser) => [user, user];
/** In the order in which they count. */
const combinations = [
  { secret: true, setting: true, file: true, expected: 'secret' },
  { secret: true, setting: true, file: false, expected: 'secret' },
  { secret: true, setting: false, file: true, expected: 'secret' },
  { secret: true, setting: false, file: false, expected: 'secret' },
  { secret: false, setting: true, file: true, expected: 'setting' },
  { secret: false, setting: true, file: false, expected: 'setting' },
  { secret: false, setting: false, file: true, expected: 'owner' },
  { secret: false, setting: false, file: false, expected: undefined },
] as const;

describe.each<{ runtime: Runtime; env: Record<string, string>; usesFile: boolean }>([
  { runtime: 'docker', env: {}, usesFile: true },
  { runtime: 'microvm', env: {}, usesFile: false },
  { runtime: 'microvm', env: { EXECUTOR_MICROVM_DOCKER_CONFIG: 'true' }, usesFile: true },
])('runtime $runtime $env', ({ runtime, env, usesFile }) => {
  test.each(combinations)(
    'with secret $secret, setting $setting and config.json $file has the images by $expected',
    async ({ secret, setting, file, expected }) => {
      const seen = await outcomes(runtime, {
        secret: secret ? everywhere('secret') : undefined,
        setting: setting ? everywhere('setting') : undefined,
        file: file ? everywhere('owner') : undefined,
        env,
      });
      const counts = expected !== undefined && (expected !== 'owner' || usesFile);
      expect(seen).toEqual(counts ? both(expected) : none);
    },
  );
});

describe.each<Runtime>(['docker', 'microvm'])('runtime %s', (runtime) => {
  const [first, second] = [() => registries[0].host, () => registries[1].host];
  const env = { EXECUTOR_MICROVM_DOCKER_CONFIG: 'true' };

  test('has several registries, and adds nothing of a later source to an earlier one', async () => {
    const auths = { [first()]: encoded('secret'), [second()]: encoded('user') };
    expect(await outcomes(runtime, { secret: { auths } })).toEqual(['secret', 'user']);
    for (const registry of registries) registry.requests.length = 0;
    const secret = { auths: { [first()]: encoded('secret') } };
    const others = { setting: everywhere('setting'), file: everywhere('owner'), env };
    expect(await outcomes(runtime, { secret, ...others })).toEqual(['secret', 'without credentials']);
  });

  test('passes over sources without any registry', async () => {
    const sources = { secret: { auths: {} }, setting: { auths: {} }, file: everywhere('owner'), env };
    expect(await outcomes(runtime, sources)).toEqual(both('owner'));
  });

  test('says that wrong credentials are refused, and does not try others instead', async () => {
    const auths = { [first()]: encoded('secret', 'guess'), [second()]: encoded('stranger') };
    const others = { setting: everywhere('setting'), file: everywhere('owner'), env };
    expect(await outcomes(runtime, { secret: { auths }, ...others })).toEqual(
      Array(2).fill('with the credentials given'),
    );
  });

  test('says the same of credentials that have run out, also for an image that is here', async () => {
    const sources = { secret: everywhere('secret') };
    expect(await outcomes(runtime, sources)).toEqual(both('secret'));
    await registries[0].keepUsers(['owner']);
    for (const registry of registries) registry.requests.length = 0;
    expect(await outcomes(runtime, sources)).toEqual(['with the credentials given', 'secret']);
  });

  test('asks the credential helpers and stores of config.json', async () => {
    const path = join(home, 'docker-credential-test');
    const answer = `printf '{"Username":"helper","Secret":"password"}'`;
    await writeFile(path, `#!/bin/sh\nread -r server\n[ "$1" = get ] || exit 9\n${answer}\n`);
    await chmod(path, 0o755);
    const auths = { [second()]: encoded('owner') };
    const file = { auths, credHelpers: { [first()]: 'test' } };
    expect(await outcomes(runtime, { file, env })).toEqual(['helper', 'owner']);
    for (const registry of registries) registry.requests.length = 0;
    expect(await outcomes(runtime, { file: { credsStore: 'test' }, env })).toEqual(both('helper'));
  });

  test('gives one tenant’s image, which is here, to no other tenant, and moves no byte to find out', async () => {
    expect(await outcomes(runtime, { secret: everywhere('secret') })).toEqual(both('secret'));
    const moved = registries.map(({ blobBytes }) => blobBytes);
    expect(await outcomes(runtime, {})).toEqual(none);
    const wrong = { auths: { [first()]: encoded('stranger'), [second()]: encoded('user', '') } };
    expect(await outcomes(runtime, { secret: wrong })).toEqual(Array(2).fill('with the credentials given'));
    expect(registries.map(({ blobBytes }) => blobBytes)).toEqual(moved);
  });
});
