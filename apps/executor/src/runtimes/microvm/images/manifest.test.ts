import { describe, expect, test } from 'vitest';
import { imageLimits } from './limits.ts';
import { chooseForPlatform, ociArchitecture, readConfig, readManifest } from './manifest.ts';

const digest = (character: string): string => `sha256:${character.repeat(64)}`;
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const blob = (character: string, more: object = {}) => ({ digest: digest(character), size: 2, ...more });
const index = (...platforms: (string | undefined)[]) => ({
  manifests: platforms.map((platform, at) => {
    const [os = '', architecture = '', variant] = platform?.split('/') ?? [];
    return {
      ...blob(String(at)),
      ...(platform === undefined ? {} : { platform: { os, architecture, ...(variant ? { variant } : {}) } }),
    };
  }),
});

describe('a manifest', () => {
  test('names config and layers, whatever type it claims', () => {
    const manifest = { mediaType: 'text/html', config: blob('a'), layers: [blob('b'), blob('b')] };
    expect(readManifest(bytes(manifest), imageLimits)).toEqual({
      manifest: { config: blob('a'), layers: [blob('b'), blob('b')] },
    });
  });

  test.each<[string, unknown, string]>([
    ['no JSON', Buffer.from('<html>'), 'is no JSON'],
    ['no object', 'manifest', 'cannot be read'],
    ['both image and list', { manifests: [], config: blob('a'), layers: [] }, 'claims to be both'],
    ['both list and schema 1', { manifests: [], fsLayers: [] }, 'claims to be both'],
    ['schema 1', { schemaVersion: 1, fsLayers: [] }, 'Docker before 2016'],
    [
      'a chart',
      { config: blob('a', { mediaType: 'application/vnd.cncf.helm.config.v1+json' }), layers: [] },
      'no container image but "application/vnd.cncf.helm.config.v1+json"',
    ],
    [
      'a Windows layer',
      {
        config: blob('a'),
        layers: [blob('b', { mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })],
      },
      'not supported',
    ],
    [
      'an encrypted layer',
      {
        config: blob('a'),
        layers: [blob('b', { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted' })],
      },
      'not supported',
    ],
    [
      'a digest that is a path',
      { config: { digest: 'sha256:../../x', size: 2 }, layers: [] },
      'cannot be read',
    ],
    ['a negative size', { config: blob('a'), layers: [blob('b', { size: -1 })] }, 'cannot be read'],
    ['a huge config', { config: blob('a', { size: 2 ** 30 }), layers: [] }, 'config is too large'],
    ['huge layers', { config: blob('a'), layers: [blob('b', { size: 2 ** 50 })] }, 'layers are too large'],
    ['many layers', { config: blob('a'), layers: Array(300).fill(blob('b')) }, '300 layers; at most 256'],
  ])('that is %s is refused', (_, manifest, message) => {
    const text = Buffer.isBuffer(manifest) ? manifest : bytes(manifest);
    expect(() => readManifest(text, imageLimits)).toThrow(message);
  });
});

describe('a list of platforms', () => {
  const choose = (...platforms: (string | undefined)[]) =>
    chooseForPlatform(
      readManifest(bytes(index(...platforms)), imageLimits).index ?? { manifests: [] },
      'amd64',
    ).digest;

  test('gives the one for this machine, and of its variants the one that every machine can run', () => {
    expect(choose('linux/arm64/v8', 'linux/amd64', 'unknown/unknown')).toBe(digest('1'));
    expect(choose('linux/amd64/v3', 'windows/amd64', 'linux/amd64')).toBe(digest('2'));
    expect(choose('linux/amd64/v2')).toBe(digest('0'));
    expect(choose(undefined)).toBe(digest('0'));
  });

  test('without one names those that there are', () => {
    expect(() => choose('linux/arm64', 'windows/amd64', 'unknown/unknown')).toThrow(
      'none for linux/amd64, only for linux/arm64, windows/amd64',
    );
    expect(() => choose()).toThrow('only for nothing');
    expect(() => choose(undefined, undefined)).toThrow('only for nothing');
  });
});

describe('a config', () => {
  const rootfs = { type: 'layers', diff_ids: [digest('d')] };

  test('tells what processes get', () => {
    const config = { Env: ['A=1=2', 'B=', 'C', '=D'], User: '1000:100', WorkingDir: '/srv', Cmd: ['x'] };
    expect(readConfig(bytes({ os: 'linux', architecture: ociArchitecture(), config, rootfs }))).toEqual({
      env: ['A=1=2', 'B='],
      user: '1000:100',
      workingDir: '/srv',
      diffIds: [digest('d')],
    });
    expect(readConfig(bytes({ config: null, rootfs: { diff_ids: null } }))).toEqual({
      env: [],
      user: '',
      workingDir: '',
      diffIds: [],
    });
  });

  test.each<[string, object, string]>([
    ['for another machine', { os: 'linux', architecture: 's390x', rootfs }, 'is for linux/s390x'],
    ['for another system', { os: 'windows', architecture: ociArchitecture(), rootfs }, 'is for windows/'],
    ['with a zero byte', { config: { Env: ['A=\0'] }, rootfs }, 'zero byte'],
    ['with another kind of environment', { config: { Env: 'A=1' }, rootfs }, 'cannot be read'],
    ['without layers', {}, 'cannot be read'],
  ])('%s is refused', (_, config, message) => {
    expect(() => readConfig(bytes(config))).toThrow(message);
  });
});
