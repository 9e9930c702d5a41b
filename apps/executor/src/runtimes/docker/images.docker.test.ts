import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startTestDockerd } from '../../../../../test/kit/dockerd.ts';
import { testImages } from '../../../../../test/kit/images.ts';
import { startTestRegistry, type TestRegistry } from '../../../../../test/kit/registry.ts';
import { type Engine, openEngine } from './engine.ts';
import { type Images, openImages } from './images.ts';

let daemon: Awaited<ReturnType<typeof startTestDockerd>>;
let registry: TestRegistry;
let engine: Engine;
let images: Images;
let notices: string[];

beforeAll(async () => {
  daemon = await startTestDockerd();
  registry = await startTestRegistry(daemon.networkNamespace ?? '');
  engine = openEngine(daemon.socketPath);
});
afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
  await daemon?.stop();
});
beforeEach(() => {
  images = openImages(engine, { allowLocalImages: false });
  registry.requests.length = 0;
  notices = [];
});

const notice = (line: string): void => void notices.push(line);
const withPassword = (password: string) => ({
  auths: { '127.0.0.1:5000': { auth: Buffer.from(`user:${password}`).toString('base64') } },
});
const resolve = (name: string, auth = {}, signal = AbortSignal.timeout(50_000)) =>
  images.resolve(name, auth, notice, signal);
const manifestRequests = () => registry.requests.filter((line) => line.includes('/manifests/'));
const layerRequests = () => registry.requests.filter((line) => line.startsWith('GET layer'));

test('pulls an image once for many, and asks the registry again only after a while', async () => {
  const name = `${registry.host}/tool:1`;
  const resolved = await Promise.all([resolve(name), resolve(name), resolve(name)]);
  expect(new Set(resolved.map(({ id }) => id)).size).toBe(1);
  expect(resolved[0]?.digest).toMatch(/^sha256:/);
  expect(layerRequests()).toHaveLength(1);
  expect(notices.join('\n')).toContain(`pulling image ${registry.host}/tool`);
  registry.requests.length = 0;
  await resolve(name);
  expect(registry.requests).toEqual([]);
  // By its digest it is the same image.
  expect((await resolve(`${registry.host}/tool@${resolved[0]?.digest}`)).id).toBe(resolved[0]?.id);
});

test('gives a cached private image only to those whom the registry lets have it', async () => {
  const name = `${registry.host}/private/tool:1`;
  const { id } = await resolve(name, withPassword('password'));
  registry.requests.length = 0;
  await expect(resolve(name)).rejects.toThrow(
    `127.0.0.1:5000 refuses image ${name} without credentials, or has no such image`,
  );
  expect(manifestRequests().length).toBeGreaterThan(0);
  const wrong = resolve(name, withPassword('hunter22'));
  await expect(wrong).rejects.toThrow('with the credentials given for 127.0.0.1:5000');
  await expect(wrong).rejects.not.toThrow(/hunter22|dXNlcjpo/);
  // Again with the right ones, cached: a manifest, no layers.
  images = openImages(engine, { allowLocalImages: false });
  registry.requests.length = 0;
  expect((await resolve(name, withPassword('password'))).id).toBe(id);
  expect(manifestRequests().length).toBeGreaterThan(0);
  expect(layerRequests()).toEqual([]);
});

test('asked ahead of time, the registry need not be asked again; a refusal is told only where the image is needed', async () => {
  const name = `${registry.host}/private/tool:1`;
  await resolve(name, withPassword('password'));
  images = openImages(engine, { allowLocalImages: false });
  await images.confirm(name, withPassword('password'), AbortSignal.timeout(50_000));
  registry.requests.length = 0;
  await resolve(name, withPassword('password'));
  expect(registry.requests).toEqual([]);
  await images.confirm(name, {}, AbortSignal.timeout(50_000));
  expect(manifestRequests().length).toBeGreaterThan(0);
  await expect(resolve(name)).rejects.toThrow('without credentials');
});

test('waits as long as a throttling registry tells, and says so', async () => {
  registry.throttle(1000);
  const waits: string[] = [];
  const begin = performance.now();
  await images.resolve(
    `${registry.host}/throttled:1`,
    {},
    (line) => {
      if (!line.includes('too many requests')) return;
      waits.push(line);
      if (waits.length === 2) registry.throttle(0);
    },
    AbortSignal.timeout(50_000),
  );
  expect(waits[0]).toContain('trying again in 1 s');
  expect(waits).toHaveLength(2);
  expect(performance.now() - begin).toBeGreaterThan(2000);
});

test('stops waiting when the job is canceled', async () => {
  registry.throttle(1000);
  const cancel = new AbortController();
  const waiting = images.resolve(
    `${registry.host}/throttled:2`,
    {},
    () => cancel.abort(new Error('canceled')),
    cancel.signal,
  );
  await expect(waiting).rejects.toThrow('canceled');
  registry.throttle(0);
});

test('names an image that is not there', async () => {
  const error = await resolve(`${registry.host}/tool:none`).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ name: 'SandboxError', infrastructure: false });
  expect(String(error)).toContain(`there is no image ${registry.host}/tool:none`);
});

test('calls an unreachable registry an infrastructure error', async () => {
  const error = await resolve('127.0.0.1:5999/tool:1').catch((caught: unknown) => caught);
  expect(error).toMatchObject({ name: 'SandboxError', infrastructure: true });
  expect(String(error)).toContain('127.0.0.1:5999');
});

test('uses an image that exists only here when that is allowed, and says how otherwise', async () => {
  await expect(resolve(testImages.busybox)).rejects.toThrow('EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES=true');
  images = openImages(engine, { allowLocalImages: true });
  expect((await resolve(testImages.busybox)).id).toMatch(/^sha256:/);
  expect((await resolve(testImages.busybox)).digest).toBeUndefined();
  // What came from a registry is still asked for there.
  await expect(resolve(`${registry.host}/private/tool:1`)).rejects.toThrow('without credentials');
});
