import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { buildDriveOfLayers } from '../../apps/executor/src/runtimes/microvm/images/layers.ts';
import { imageLimits } from '../../apps/executor/src/runtimes/microvm/images/limits.ts';
import { readTar } from '../../apps/executor/src/runtimes/microvm/images/tar-reader.ts';
import { digestOf, type MadeEntry, madeLayer } from '../kit/made-images.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drives-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function build(
  layers: readonly (MadeEntry[] | Buffer)[],
  options: { compress?: (bytes: Buffer) => Buffer; limits?: object; signal?: AbortSignal } = {},
): Promise<string> {
  const plain = layers.map((layer) => (Buffer.isBuffer(layer) ? layer : madeLayer(layer)));
  const files = await Promise.all(
    plain.map(async (bytes, index) => {
      const stored = options.compress?.(bytes) ?? bytes;
      const path = join(directory, `${index}.layer`);
      await writeFile(path, stored);
      return { path, start: 0, size: stored.length };
    }),
  );
  const path = join(directory, `drive-${Math.random().toString(36).slice(2)}.sqfs`);
  await buildDriveOfLayers(
    path,
    { layers: files, diffIds: plain.map(digestOf), limits: { ...imageLimits, ...options.limits } },
    options.signal ?? new AbortController().signal,
  );
  return path;
}

/** Path, and target, to mode, owner, size and day; without what is the same everywhere. */
function files(path: string): Record<string, string> {
  const listing = execFileSync('unsquashfs', ['-lln', path], { env: { ...process.env, TZ: 'UTC' } });
  const lines = listing.toString('latin1').trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const [, mode = '', owner = '', size, day, file = ''] =
        /^(\S+) (\S+) +(\d+) (\S+) \S+ squashfs-root(.*)$/.exec(line) ?? [];
      const dated = day === '2023-11-14' ? '' : ` (${day})`;
      return [file, `${mode} ${owner}${mode.startsWith('-') ? ` ${size}` : ''}${dated}`];
    }),
  );
}

const cat = (path: string, file: string): string =>
  execFileSync('unsquashfs', ['-cat', path, file]).toString();

const layers: MadeEntry[][] = [
  [
    { path: '.', type: 'directory', mode: 0o751 },
    { path: 'etc', type: 'directory', mode: 0o750, uid: 3, gid: 4 },
    { path: 'etc/old', content: 'old' },
    { path: 'etc/kept', content: 'kept\n', mode: 0o4711, uid: 4_000_000_000, gid: 2_500_000 },
    { path: `etc/${'long'.repeat(50)}`, content: 'long' },
    { path: 'etc/again', type: 'hardlink', linkPath: 'etc/kept' },
    { path: 'dev/fifo', type: 'fifo' },
    { path: 'zero', content: '' },
  ],
  [
    { path: 'etc/.wh.old' },
    { path: 'etc/.wh.kept' },
    { path: 'link', type: 'symlink', linkPath: `/etc/${'long'.repeat(50)}` },
    { path: 'up', type: 'symlink', linkPath: '../../../x' },
    { path: 'big', content: Buffer.alloc(700_000, 'big') },
    { path: 'caf\xc3\xa9\xff', content: 'bytes' },
  ],
];

describe('a drive', () => {
  test('holds what its layers come to', async () => {
    const path = await build(layers);
    const long = 'long'.repeat(50);
    expect(files(path)).toEqual({
      '': 'drwxr-x--x 0/0',
      '/etc': 'drwxr-x--- 3/4',
      '/etc/again': '-rws--x--x 4000000000/2500000 5',
      [`/etc/${long}`]: '-rw-r--r-- 0/0 4',
      '/dev': 'drwxr-xr-x 0/0 (1970-01-01)',
      '/dev/fifo': 'prw-r--r-- 0/0',
      '/zero': '-rw-r--r-- 0/0 0',
      [`/link -> /etc/${long}`]: 'lrwxrwxrwx 0/0',
      '/up -> ../../../x': 'lrwxrwxrwx 0/0',
      '/big': '-rw-r--r-- 0/0 700000',
      '/caf\xc3\xa9\xff': '-rw-r--r-- 0/0 5',
    });
    expect(cat(path, 'etc/again')).toBe('kept\n');
    expect(cat(path, 'big')).toBe('big'.repeat(233_334).slice(0, 700_000));
  });

  test('is the same whatever the layers are packed with, and whenever it is made', async () => {
    const drives = [];
    for (const compress of [gzipSync, zstdCompressSync, undefined])
      drives.push(await readFile(await build(layers, compress === undefined ? {} : { compress })));
    expect(drives[1]?.equals(drives[0] ?? Buffer.alloc(0))).toBe(true);
    expect(drives[2]?.equals(drives[0] ?? Buffer.alloc(0))).toBe(true);
  });

  test('holds attributes that programs go by', async () => {
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    const xattrs = new Map([
      ['security.capability', capability],
      ['user.note', Buffer.from('a\0b')],
      ['trusted.overlay.opaque', Buffer.from('y')],
    ]);
    const path = await build([[{ path: 'ping', xattrs, content: 'x' }]]);
    const dump = execFileSync('unsquashfs', ['-d', join(directory, 'out'), path]).toString();
    expect(dump).toContain('created 1 file');
    const attributes = execFileSync('tar', ['--xattrs', '--xattrs-include=*', '-cf', '-', 'ping'], {
      cwd: join(directory, 'out'),
    });
    const entry = await readTar(Readable.from([attributes]), 2 ** 20).next();
    expect([...(entry?.xattrs ?? [])].sort()).toEqual([
      ['security.capability', capability],
      ['user.note', Buffer.from('a\0b')],
    ]);
  });

  test('is nobody else’s to write, and its builder leaves nothing running', async () => {
    const { mode, uid } = await stat(await build(layers));
    expect([mode & 0o777, uid]).toEqual([0o444, 0]);
  });

  test('of no layers, of empty ones, and of many owners', async () => {
    expect(files(await build([]))).toEqual({ '': 'drwxr-xr-x 0/0 (1970-01-01)' });
    expect(files(await build([[], Buffer.alloc(0)]))).toEqual({ '': 'drwxr-xr-x 0/0 (1970-01-01)' });
    const many = Array.from({ length: 5000 }, (_, index) => ({
      path: `f${index}`,
      uid: index + 1,
      gid: 70_000 + index,
    }));
    expect(files(await build([many]))).toMatchObject({
      '': 'drwxr-xr-x 0/0',
      '/f4999': '-rw-r--r-- 5000/74999 0',
    });
  });
});

describe('no drive comes of', () => {
  test.each<[string, () => Parameters<typeof build>, string]>([
    ['a layer that is no archive', () => [[Buffer.from('x'.repeat(1000))], {}], 'is no number'],
    [
      'too much once it is decompressed',
      () => [
        [[{ path: 'a', content: Buffer.alloc(3_000_000) }]],
        { compress: gzipSync, limits: { unpackedBytes: 2 ** 20 } },
      ],
      'more than 1 MiB',
    ],
    [
      'the same with zstd',
      () => [
        [[{ path: 'a', content: Buffer.alloc(3_000_000) }]],
        { compress: zstdCompressSync, limits: { unpackedBytes: 2 ** 20 } },
      ],
      'more than 1 MiB',
    ],
    [
      'too much in all layers together',
      () => [
        [[{ path: 'a', content: Buffer.alloc(700_000) }], [{ path: 'a', content: Buffer.alloc(700_000) }]],
        { limits: { unpackedBytes: 2 ** 20 } },
      ],
      'more than 1 MiB',
    ],
    [
      'too many files',
      () => [[[{ path: 'a' }, { path: 'b' }], [{ path: 'c' }]], { limits: { entries: 2 } }],
      'more than 2 files',
    ],
    ['too many layers', () => [[[], [], []], { limits: { layers: 2 } }], 'at most 2'],
    [
      'gzip that is cut',
      () => [layers, { compress: (bytes: Buffer) => gzipSync(bytes).subarray(0, -20) }],
      'damaged',
    ],
    [
      'zstd that is cut',
      () => [layers, { compress: (bytes: Buffer) => zstdCompressSync(bytes).subarray(0, -20) }],
      'damaged',
    ],
    [
      'an archive that is cut',
      () => [[madeLayer([{ path: 'a', content: 'b'.repeat(2000) }]).subarray(0, 1500)], {}],
      'in the middle',
    ],
  ])('%s', async (_, make, message) => {
    await expect(build(...make())).rejects.toThrow(message);
  });

  test('layers that do not match the digests of the config', async () => {
    const path = join(directory, 'layer');
    await writeFile(path, madeLayer([{ path: 'a' }]));
    const { size } = await stat(path);
    const source = { layers: [{ path, start: 0, size }], limits: imageLimits };
    const signal = new AbortController().signal;
    await expect(
      buildDriveOfLayers(
        join(directory, 'd'),
        { ...source, diffIds: [digestOf(Buffer.from('other'))] },
        signal,
      ),
    ).rejects.toThrow('layer 1 does not have the content');
    await expect(
      buildDriveOfLayers(join(directory, 'd'), { ...source, diffIds: [] }, signal),
    ).rejects.toThrow('1 layers');
  });

  test('work that is called off', async () => {
    const controller = new AbortController();
    const big = [{ path: 'big', content: Buffer.alloc(60_000_000, 'abc') }];
    const building = build([big], { compress: gzipSync, signal: controller.signal });
    controller.abort(new Error('canceled'));
    await expect(building).rejects.toThrow('canceled');
  });

  test('a disk without room, which is said', async () => {
    const mount = join(directory, 'small');
    execFileSync('mkdir', [mount]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', mount]);
    try {
      const layer = madeLayer([{ path: 'noise', content: randomBytes(2_000_000) }]);
      const path = join(directory, 'layer');
      await writeFile(path, layer);
      const source = {
        layers: [{ path, start: 0, size: layer.length }],
        diffIds: [digestOf(layer)],
        limits: imageLimits,
      };
      await expect(
        buildDriveOfLayers(join(mount, 'd'), source, new AbortController().signal),
      ).rejects.toThrow('the disk with EXECUTOR_DATA_DIR is full');
    } finally {
      execFileSync('umount', [mount]);
    }
  });
});
