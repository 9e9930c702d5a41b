import { describe, expect, it } from 'vitest';
import { cpioArchive } from './cpio.ts';
import { initramfs, initramfsModules } from './initramfs.ts';
import { type KernelModule, parseModule, withDependencies } from './kernel-modules.ts';
import { type Manifest, manifestDigest, packageList } from './manifest.ts';

const module = (name: string, ...needs: string[]): KernelModule => ({
  name,
  needs,
  bytes: Buffer.from(name),
});

describe('initramfs', () => {
  const parts = {
    busybox: Buffer.from('program'),
    init: '#!/bin/busybox sh\n',
    modules: [...initramfsModules.map((name) => module(name, 'virtio')), module('virtio')],
  };

  it('is the same for the same parts, in whatever order the modules were found', () => {
    const again = { ...parts, modules: [...parts.modules].reverse() };
    expect(initramfs(again).equals(initramfs(parts))).toBe(true);
    expect(initramfs({ ...parts, init: 'other' }).equals(initramfs(parts))).toBe(false);
  });

  it('lists the modules in the order in which they can be loaded', () => {
    const text = initramfs(parts).toString('latin1');
    expect(text).toContain('virtio\nvirtio_pci\nvirtio_blk\nsquashfs\n');
  });

  it('names what the kernel lacks', () => {
    expect(() => initramfs({ ...parts, modules: [] })).toThrow('the kernel has no module virtio_pci;');
  });

  it('is an archive of the format newc', () => {
    const archive = cpioArchive([
      { path: 'a', type: 'directory' },
      { path: 'a/odd', type: 'file', mode: 0o755, bytes: Buffer.from('12345') },
      { path: 'console', type: 'device', mode: 0o600, major: 5, minor: 1 },
    ]);
    const number = (value: number) => value.toString(16).padStart(8, '0');
    const header = (...fields: number[]) => `070701${fields.map(number).join('')}`;
    const expected = [
      `${header(1, 0o040755, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2, 0)}a\0`,
      `${header(2, 0o100755, 0, 0, 1, 0, 5, 0, 0, 0, 0, 6, 0)}a/odd\0`,
      '12345\0\0\0',
      `${header(3, 0o020600, 0, 0, 1, 0, 0, 0, 0, 5, 1, 8, 0)}console\0\0\0`,
      `${header(0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0)}TRAILER!!!\0\0\0\0`,
    ].join('');
    expect(archive.toString('latin1').slice(0, expected.length)).toBe(expected);
    expect(archive.length % 512).toBe(0);
  });
});

describe('kernel modules', () => {
  it('say what they need', () => {
    const bytes = Buffer.from('\x7fELF\0license=GPL\0depends=virtio-ring,failover\0name=x\0');
    expect(parseModule('x', bytes).needs).toEqual(['virtio_ring', 'failover']);
    expect(parseModule('x', Buffer.from('\x7fELF\0depends=\0name=x\0')).needs).toEqual([]);
  });

  it('come after what they need, each once', () => {
    const modules = [module('a', 'b', 'c'), module('b', 'c'), module('c'), module('unwanted')];
    expect(withDependencies(modules, ['a', 'b']).map(({ name }) => name)).toEqual(['c', 'b', 'a']);
    expect(() => withDependencies([module('a', 'gone')], ['a'])).toThrow('no module gone, which a needs');
  });
});

describe('manifest', () => {
  const manifest = (packages: Manifest['root']['packages']): Manifest => ({
    recipe: 'r',
    kernel: { version: '6.1', sha256: 'k', initrdSha256: 'i', packages: [] },
    root: { sha256: 's', packages },
  });

  it('has the same digest for the same packages, wherever they lie and in whatever order they came', () => {
    const one = { name: 'a', version: '1', sha256: '00', path: '/tmp/x/a.deb' };
    const two = { name: 'b', version: '2', sha256: '11', path: '/tmp/x/b.deb' };
    const digest = manifestDigest(manifest(packageList([one, two])));
    expect(manifestDigest(manifest(packageList([{ ...two, path: '/elsewhere' }, one])))).toBe(digest);
    expect(manifestDigest(manifest(packageList([one, { ...two, version: '3' }])))).not.toBe(digest);
    expect(digest).toMatch(/^[0-9a-f]{32}$/);
  });
});
