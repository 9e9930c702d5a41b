import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type HeldImage,
  type ImageStore,
  type ImageStoreOptions,
  openImageStore,
} from '../../apps/executor/src/runtimes/microvm/images/index.ts';
import { type DockerRegistry, startDockerRegistry } from '../kit/docker-registry.ts';
import {
  dockerArchive,
  type MadeImage,
  madeImage,
  madeIndex,
  manifestOf,
  ociArchive,
} from '../kit/made-images.ts';

const plain = madeImage([[{ path: 'a', content: 'A'.repeat(100_000) }], [{ path: 'b', content: 'B' }]], {
  config: { Env: ['PATH=/bin', 'NAMELESS', 'EMPTY='], User: 'app', WorkingDir: '/srv' },
});
let registry: DockerRegistry;
let directory: string;
beforeAll(async () => {
  registry = await startDockerRegistry();
  await registry.push('tool', '1', plain);
});
afterAll(() => registry?.[Symbol.asyncDispose]());
const usual = {
  auth: 'basic',
  redirectBlobs: false,
  tamper: undefined,
  breakOff: 0,
  before: undefined,
} as const;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'image-store-'));
  Object.assign(registry.behaviour, usual, { throttle: { left: 0, retryAfter: '1' } });
  registry.requests.length = 0;
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const encoded = (pair: string) => ({ auth: Buffer.from(pair).toString('base64') });
const mayRead = () => ({ auths: { [registry.host]: encoded('user:password') } });
const never = new AbortController().signal;

function open(options: Partial<ImageStoreOptions> = {}): ImageStore {
  return openImageStore({
    directory: join(directory, 'images'),
    allowLocalImages: false,
    registryMirrorURLs: [],
    maxBytes: 2 ** 30,
    ...options,
  });
}

function resolve(
  store: ImageStore,
  name: string,
  options: { auth?: object; notices?: string[]; signal?: AbortSignal } = {},
): Promise<HeldImage> {
  const reference = name.startsWith('/') ? `${registry.host}${name}` : name;
  return store.resolve(
    reference,
    options.auth ?? mayRead(),
    (line) => void options.notices?.push(line),
    options.signal ?? never,
  );
}

const cat = (path: string, file: string): string =>
  execFileSync('unsquashfs', ['-cat', path, file]).toString();
const driveFiles = async (): Promise<string[]> =>
  (await readdir(directory, { recursive: true })).filter((name) => name.endsWith('/drive'));

describe('an image of a registry', () => {
  test('becomes a drive with its config; the second job moves no byte of it, and neither does another process', async () => {
    const store = open();
    const notices: string[] = [];
    await using first = await resolve(store, '/tool:1', { notices });
    expect(first).toMatchObject({
      digest: plain.manifest.digest,
      imageId: plain.config.digest,
      config: { env: ['PATH=/bin', 'EMPTY='], user: 'app', workingDir: '/srv' },
    });
    expect(cat(first.drivePath, 'a')).toBe('A'.repeat(100_000));
    expect(notices).toEqual([
      `pulling image ${registry.host}/tool:1`,
      expect.stringMatching(/^pulled image .*\/tool:1 \(sha256:[0-9a-f]{64}\) in \d+\.\d s$/),
    ]);
    const [bytes, asked] = [registry.blobBytes, registry.requests.length];
    await using second = await resolve(store, '/tool:1');
    expect(registry.requests).toHaveLength(asked);
    await using third = await resolve(open(), '/tool:1');
    expect(registry.requests.slice(asked).map(({ method, path }) => `${method} ${path}`)).toEqual([
      'HEAD /v2/tool/manifests/1',
      'HEAD /v2/tool/manifests/1',
    ]);
    expect(registry.blobBytes).toBe(bytes);
    expect(new Set([first, second, third].map(({ drivePath }) => drivePath)).size).toBe(3);
    expect((await stat(first.drivePath)).ino).toBe((await stat(third.drivePath)).ino);
    expect(await driveFiles()).toHaveLength(1);
  });

  test('is got by its digest too', async () => {
    await using image = await resolve(open(), `/tool@${plain.manifest.digest}`);
    expect(image.digest).toBe(plain.manifest.digest);
    await expect(resolve(open(), `/tool@sha256:${'0'.repeat(64)}`)).rejects.toThrow('there is no such image');
  });

  test.each<[string, Parameters<typeof madeImage>[1]]>([
    ['Docker’s types', { docker: true }],
    ['zstd', { compression: 'zstd' }],
    ['no compression', { compression: 'none' }],
  ])('with %s', async (_, options) => {
    await registry.push('forms', 'x', madeImage([[{ path: 'a', content: 'form' }]], options));
    await using image = await resolve(open(), '/forms:x');
    expect(cat(image.drivePath, 'a')).toBe('form');
  });

  test('is chosen for this platform out of several', async () => {
    const here = process.arch === 'x64' ? 'amd64' : process.arch;
    const other = madeImage([[{ path: 'a', content: 'other' }]], { architecture: 's390x' });
    for (const image of [plain, other]) await registry.push('many', image.manifest.digest, image);
    await registry.pushManifest(
      'many',
      '1',
      madeIndex([
        { image: other, architecture: 's390x' },
        { image: plain, architecture: here },
      ]),
    );
    await using image = await resolve(open(), '/many:1');
    expect(image.imageId).toBe(plain.config.digest);
    await registry.pushManifest('many', '2', madeIndex([{ image: other, architecture: 's390x' }]));
    await expect(resolve(open(), '/many:2')).rejects.toThrow(`none for linux/${here}, only for linux/s390x`);
    await expect(resolve(open(), `/many@${other.manifest.digest}`)).rejects.toThrow('it is for linux/s390x');
  });

  test('whose tag moves on is got anew', async () => {
    await registry.push('moving', '1', madeImage([[{ path: 'a', content: 'old' }]]));
    await using old = await resolve(open(), '/moving:1');
    await registry.push('moving', '1', madeImage([[{ path: 'a', content: 'new' }]]));
    await using image = await resolve(open(), '/moving:1');
    expect(cat(image.drivePath, 'a')).toBe('new');
    expect(cat(old.drivePath, 'a')).toBe('old');
  });
});

describe('credentials', () => {
  test('of one job give nothing to another', async () => {
    const store = open();
    await using _ = await resolve(store, '/tool:1');
    await expect(resolve(store, '/tool:1', { auth: {} })).rejects.toThrow(
      `image ${registry.host}/tool:1: ${registry.host} refuses it without credentials, or has no such image: set the secret DOCKER_AUTH_CONFIG with an entry for ${registry.host}`,
    );
    const wrong = { auths: { [registry.host]: encoded('user:guess') } };
    await expect(resolve(store, '/tool:1', { auth: wrong })).rejects.toThrow('with the credentials given');
  });

  test('are exchanged for tokens, also for those without any', async () => {
    registry.behaviour.auth = 'bearer';
    await registry.push('private/tool', '1', plain);
    await using _ = await resolve(open(), '/tool:1', { auth: {} });
    expect(registry.requests.filter(({ path }) => path.startsWith('/token'))).toEqual([
      expect.objectContaining({
        path: '/token?service=test&scope=repository%3Atool%3Apull',
        authorization: undefined,
      }),
    ]);
    await expect(resolve(open(), '/private/tool:1', { auth: {} })).rejects.toThrow(
      'refuses it without credentials',
    );
    await using image = await resolve(open(), '/private/tool:1');
    expect(image.imageId).toBe(plain.config.digest);
    const wrong = { auths: { [registry.host]: encoded('user:guess') } };
    await expect(resolve(open(), '/tool:1', { auth: wrong })).rejects.toThrow('with the credentials given');
  });

  test('never go where the registry redirects to', async () => {
    registry.behaviour.redirectBlobs = true;
    await using _ = await resolve(open(), '/tool:1');
    const stored = registry.requests.filter(({ atStorage }) => atStorage);
    expect(stored.length).toBeGreaterThan(0);
    expect(stored.map(({ authorization }) => authorization).filter(Boolean)).toEqual([]);
  });

  test('are in no message and in no file', async () => {
    const store = open();
    const notices: string[] = [];
    await using _ = await resolve(store, '/tool:1', { notices });
    const wrong = { auths: { [registry.host]: encoded('user:hunter2hunter2') } };
    const error = await resolve(store, '/tool:2', { auth: wrong, notices }).catch((caught: Error) => caught);
    expect(`${error} ${notices.join()}`).not.toMatch(/hunter2|password/);
    const grep = execFileSync('sh', [
      '-c',
      'grep -rlE "hunter2|password" "$0" || true',
      directory,
    ]).toString();
    expect(grep).toBe('');
  });

  test('of a registry of the job’s own do not lead to the private images of others', async () => {
    const secret = madeImage([[{ path: 'secret', content: 'theirs' }]]);
    await registry.push('theirs/tool', '1', secret);
    const store = open();
    await using _ = await resolve(store, '/theirs/tool:1');
    // The same config under other layers, as whoever knows the digests could push it.
    const decoy = madeImage([[{ path: 'secret', content: 'mine' }]]);
    await registry.push('mine/tool', '1', {
      ...secret,
      layers: decoy.layers,
      manifest: manifestOf(secret.config, decoy.layers),
    });
    await expect(resolve(store, '/mine/tool:1')).rejects.toThrow('does not have the content');
    // Whoever really has it may have it, and it is stored once.
    await registry.push('copy/tool', '1', secret);
    await using copy = await resolve(store, '/copy/tool:1');
    expect(copy.imageId).toBe(secret.config.digest);
    expect(await driveFiles()).toHaveLength(1);
  });
});

describe('a registry', () => {
  test('that has had enough is waited for as it says, and it is shown', async () => {
    registry.behaviour.throttle = { left: 2, retryAfter: '1' };
    const notices: string[] = [];
    const begun = performance.now();
    await using _ = await resolve(open(), '/tool:1', { notices });
    expect(performance.now() - begun).toBeGreaterThan(1900);
    expect(notices.slice(0, 2)).toEqual(
      Array(2).fill(`${registry.host} says "too many requests": trying again in 1 s`),
    );
  });

  test('that says to come back tomorrow is not waited for', async () => {
    registry.behaviour.throttle = { left: 1, retryAfter: '86400' };
    await expect(resolve(open(), '/tool:1')).rejects.toMatchObject({
      message: expect.stringContaining('refuses this one for 86400 s more'),
      infrastructure: true,
    });
  });

  test('is left when the job is canceled while it waits', async () => {
    registry.behaviour.throttle = { left: 1, retryAfter: '600' };
    const controller = new AbortController();
    const resolving = resolve(open(), '/tool:1', { signal: controller.signal });
    await expect.poll(() => registry.requests.length).toBe(1);
    controller.abort(new Error('canceled by its owner'));
    await expect(resolving).rejects.toThrow('canceled by its owner');
  });

  test('that breaks off is asked again', async () => {
    registry.behaviour.breakOff = 2;
    await using image = await resolve(open(), '/tool:1');
    expect(cat(image.drivePath, 'b')).toBe('B');
  });

  test.each<[string, (path: string, body: Buffer) => Buffer, string]>([
    [
      'another layer',
      (path, body) => (path.includes(plain.layers[0]?.digest ?? '') ? gzipSync('x') : body),
      'sent something else than sha256:',
    ],
    [
      'a longer layer',
      (path, body) => (path.includes(plain.layers[0]?.digest ?? '') ? Buffer.concat([body, body]) : body),
      'sent something else than sha256:',
    ],
    [
      'another config',
      (path, body) => (path.includes(plain.config.digest) ? Buffer.from('{}') : body),
      'sent something else than sha256:',
    ],
    [
      'another manifest',
      (path, body) => (path.includes('/manifests/') ? Buffer.from('{}') : body),
      'sent a manifest that is not sha256:',
    ],
  ])('that sends %s is not believed, and nothing is left of it', async (_, tamper, message) => {
    registry.behaviour.tamper = tamper;
    await expect(resolve(open(), '/tool:1')).rejects.toThrow(message);
    expect(await driveFiles()).toEqual([]);
    expect(await readdir(join(directory, 'images/partial'))).toEqual([]);
  });

  test('that is not there is named', async () => {
    await expect(open().resolve('127.0.0.1:1/tool', {}, () => undefined, never)).rejects.toMatchObject({
      message: expect.stringMatching(
        /^image 127\.0\.0\.1:1\/tool: 127\.0\.0\.1:1 cannot be reached: .*ECONNREFUSED/,
      ),
      infrastructure: true,
    });
  });

  test('has no such image', async () => {
    await expect(resolve(open(), '/nothing:1')).rejects.toMatchObject({
      message: expect.stringContaining('there is no such image'),
      infrastructure: false,
    });
    await expect(resolve(open(), 'A//b')).rejects.toThrow('is not an image reference');
  });
});

describe('Docker Hub', () => {
  test('is served by a mirror that has it, without the job’s credentials', async () => {
    registry.behaviour.auth = 'open';
    await registry.push('library/small', 'latest', plain);
    const notices: string[] = [];
    const store = open({ registryMirrorURLs: ['http://127.0.0.1:1/', `http://${registry.host}/`] });
    const auth = { auths: { 'docker.io': encoded('hub:secret') } };
    await using image = await resolve(store, 'small', { auth, notices });
    expect(image.imageId).toBe(plain.config.digest);
    expect(notices[0]).toMatch(/^mirror 127\.0\.0\.1:1 does not serve small: .* cannot be reached/);
    expect(registry.requests.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
    expect((await store.list())[0]?.names).toEqual(['small']);
  });
});

describe('at the same time', () => {
  test('many jobs that need an image get it by one download', async () => {
    const store = open();
    const before = registry.blobBytes;
    const images = await Promise.all(Array.from({ length: 8 }, () => resolve(store, '/tool:1')));
    const other = open();
    images.push(...(await Promise.all([resolve(other, '/tool:1'), resolve(open(), '/tool:1')])));
    const all = [plain.config, ...plain.layers].reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(registry.blobBytes - before).toBe(all);
    await Promise.all(images.map((image) => image[Symbol.asyncDispose]()));
  });

  test('two processes get it by one download', async () => {
    const before = registry.blobBytes;
    const stores = [open(), open(), open()];
    const images = await Promise.all(stores.map((store) => resolve(store, '/tool:1')));
    const all = [plain.config, ...plain.layers].reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(registry.blobBytes - before).toBe(all);
    expect(await driveFiles()).toHaveLength(1);
    await Promise.all(images.map((image) => image[Symbol.asyncDispose]()));
  });

  test('a job takes over when the one that pulls is canceled', async () => {
    const store = open();
    const controller = new AbortController();
    const held = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    let isFirst = true;
    registry.behaviour.before = async (path) => {
      if (!path.includes('/blobs/') || !isFirst) return;
      isFirst = false;
      reached.resolve();
      await held.promise;
    };
    const notices: string[] = [];
    const first = resolve(store, '/tool:1', { signal: controller.signal });
    await reached.promise;
    const second = resolve(store, '/tool:1', { notices });
    await expect
      .poll(() => notices)
      .toEqual([`waiting for image ${registry.host}/tool:1, which another job is getting`]);
    controller.abort(new Error('canceled'));
    held.resolve();
    await expect(first).rejects.toThrow('canceled');
    await using image = await second;
    expect(cat(image.drivePath, 'b')).toBe('B');
    expect(await readdir(join(directory, 'images/partial'))).toEqual([]);
  });
});

describe('the cache', () => {
  const noise = async (name: string): Promise<MadeImage> => {
    const image = madeImage([[{ path: 'a', content: randomBytes(200_000) }]]);
    await registry.push(name, '1', image);
    return image;
  };

  test('keeps to its size: the least recently used go, those in use stay', async () => {
    for (const name of ['one', 'two', 'three', 'four']) await noise(name);
    const store = open({ maxBytes: 700_000 });
    await using one = await resolve(store, '/one:1');
    await (await resolve(store, '/two:1'))[Symbol.asyncDispose]();
    await (await resolve(store, '/three:1'))[Symbol.asyncDispose]();
    await using _ = await resolve(store, '/four:1');
    const names = (await store.list()).map((image) => image.names[0]?.split('/')[1]);
    expect(names.sort()).toEqual(['four:1', 'one:1', 'three:1']);
    expect((await store.list()).filter(({ isHeld }) => isHeld)).toHaveLength(2);
    await expect(store.remove(`${registry.host}/one:1`, never)).rejects.toThrow('is in use');
    expect((await store.prune(0, never)).map((image) => image.names[0]?.split('/')[1])).toEqual(['three:1']);
    await one[Symbol.asyncDispose]();
    expect(await store.remove(`${registry.host}/one:1`, never)).toHaveLength(1);
    await expect(store.remove('nothing', never)).rejects.toThrow(
      'there is no image "nothing" on this machine',
    );
  });

  test('gets back what was removed while its confirmation still counts', async () => {
    const store = open();
    await (await resolve(store, '/tool:1'))[Symbol.asyncDispose]();
    await store.prune(0, never);
    await using image = await resolve(store, '/tool:1');
    expect(cat(image.drivePath, 'b')).toBe('B');
  });

  test('is nobody else’s to look into', async () => {
    await using _ = await resolve(open(), '/tool:1');
    expect((await stat(join(directory, 'images'))).mode & 0o777).toBe(0o700);
  });

  test('says that the disk is full', async () => {
    await noise('large');
    const small = join(directory, 'small');
    await mkdir(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'none', small]);
    try {
      await expect(resolve(open({ directory: join(small, 'images') }), '/large:1')).rejects.toMatchObject({
        message: expect.stringContaining('the disk with EXECUTOR_DATA_DIR is full'),
        infrastructure: true,
      });
    } finally {
      execFileSync('umount', [small]);
    }
  });

  test('is clean after a process was killed in the middle', async () => {
    const reached = Promise.withResolvers<void>();
    registry.behaviour.before = async (path) => {
      if (!path.includes(plain.layers[0]?.digest ?? '')) return;
      reached.resolve();
      await new Promise((resolve) => setTimeout(resolve, 60_000).unref());
    };
    const dead = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { openImageStore } from ${JSON.stringify(join(import.meta.dirname, '../../apps/executor/src/runtimes/microvm/images/index.ts'))};
        const store = openImageStore(${JSON.stringify({ directory: join(directory, 'images'), allowLocalImages: false, registryMirrorURLs: [], maxBytes: 1e9 })});
        await store.resolve(${JSON.stringify(`${registry.host}/tool:1`)}, ${JSON.stringify(mayRead())}, () => {}, new AbortController().signal);`,
      ],
      { stdio: 'inherit' },
    );
    await reached.promise;
    dead.kill('SIGKILL');
    await once(dead, 'exit');
    expect(await readdir(join(directory, 'images/partial'))).toHaveLength(1);
    registry.behaviour.before = undefined;
    await using image = await resolve(open(), '/tool:1');
    expect(cat(image.drivePath, 'b')).toBe('B');
    expect(await readdir(join(directory, 'images/partial'))).toEqual([]);
    expect(await readdir(join(directory, 'images/holds'))).toHaveLength(1);
  });
});

describe('an archive', () => {
  const write = async (name: string, bytes: Buffer): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, bytes);
    return path;
  };

  test.each<[string, () => Buffer]>([
    ['of docker save', () => dockerArchive(plain, ['local/tool:1', 'other:2'])],
    ['of docker save, compressed', () => gzipSync(dockerArchive(plain, ['local/tool:1', 'other:2']))],
    ['in OCI form', () => ociArchive(plain, 'docker.io/local/tool:1')],
  ])('%s is loaded, for jobs that may use local images', async (_, make) => {
    const path = await write('image.tar', make());
    const store = open({ allowLocalImages: true });
    expect(await store.load({ path }, never)).toMatchObject([{ imageId: plain.config.digest, digests: [] }]);
    await using image = await store.resolve('local/tool:1', {}, () => undefined, never);
    expect(image).toMatchObject({ digest: plain.config.digest, config: { user: 'app' } });
    expect(cat(image.drivePath, 'b')).toBe('B');
    expect(await readdir(join(directory, 'images/partial'))).toEqual([]);
    const offline = open({ registryMirrorURLs: ['http://127.0.0.1:1'] });
    const controller = new AbortController();
    const notices: string[] = [];
    const refused = offline.resolve(
      'local/tool:1',
      {},
      (line) => {
        notices.push(line);
        controller.abort(new Error('asks the registry'));
      },
      controller.signal,
    );
    await expect(refused).rejects.toThrow('asks the registry');
  });

  test('that was named gives its name to what was loaded last', async () => {
    const store = open({ allowLocalImages: true });
    const newer = madeImage([[{ path: 'b', content: 'newer' }]]);
    await store.load({ path: await write('1.tar', ociArchive(plain, 'latest')), name: 'mine' }, never);
    await store.load({ path: await write('2.tar', dockerArchive(newer, ['mine:latest'])) }, never);
    await using image = await store.resolve('mine', {}, () => undefined, never);
    expect(cat(image.drivePath, 'b')).toBe('newer');
    expect((await store.list()).map(({ names }) => names).sort()).toEqual([[], ['mine:latest']]);
  });

  test.each<[string, () => Buffer, string]>([
    ['without a name', () => ociArchive(plain, undefined), 'gives an image no name'],
    ['that is none', () => Buffer.from('hello'), 'ends in the middle'],
    ['without an image', () => Buffer.alloc(1024), 'holds no image'],
    [
      'without a layer',
      () => dockerArchive({ ...plain, layers: plain.layers.slice(1) }, ['x']),
      'has 1 layers',
    ],
    [
      'with other layers',
      () => dockerArchive({ ...plain, layers: plain.layers.toReversed() }, ['x']),
      'does not have the content',
    ],
    ['that is cut', () => dockerArchive(plain, ['x']).subarray(0, 700), 'in the middle'],
  ])('%s is refused', async (_, make, message) => {
    await expect(open().load({ path: await write('image.tar', make()) }, never)).rejects.toThrow(message);
    expect(await driveFiles()).toEqual([]);
  });
});
