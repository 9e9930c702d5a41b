import { spawnSync } from 'node:child_process';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { lz4Magic } from './lz4.ts';
import { vmlinuxOf } from './vmlinux.ts';

const elf = Buffer.concat([Buffer.from('\x7fELF', 'latin1'), Buffer.alloc(5000, 'kernel')]);

/** A bzImage with one sector of set-up code beyond its header, and something behind the packed kernel. */
function bzImage(packed: Buffer, change: (image: Buffer) => void = () => undefined): Buffer {
  const [setupSectors, offset] = [2, 64];
  const start = (setupSectors + 1) * 512 + offset;
  const image = Buffer.concat([Buffer.alloc(start, 0x90), packed, Buffer.alloc(300, 0xcc)]);
  image.writeUInt8(setupSectors, 0x1f1);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x20f, 0x206);
  image.writeUInt32LE(offset, 0x248);
  image.writeUInt32LE(packed.length, 0x24c);
  change(image);
  return image;
}

function withLength(packed: Buffer, length = elf.length): Buffer {
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32LE(length);
  return Buffer.concat([packed, trailer]);
}

function xz(bytes: Buffer): Buffer {
  return spawnSync('xz', ['--check=crc32', '--stdout'], { input: bytes }).stdout;
}

/** One block: all but the last bytes as references to what is eight bytes before, as long as they may be. */
function lz4(bytes: Buffer): Buffer {
  const literals = bytes.subarray(0, 12);
  const tail = bytes.subarray(-10);
  const match = bytes.length - literals.length - tail.length;
  const more = match - 4 - 15;
  const block = Buffer.concat([
    Buffer.from([(literals.length << 4) | 15]),
    literals,
    Buffer.from([6, 0]),
    Buffer.alloc(Math.floor(more / 255), 255),
    Buffer.from([more % 255, tail.length << 4]),
    tail,
  ]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(block.length);
  return Buffer.concat([lz4Magic, size, block]);
}

test.each([
  ['gzip', () => gzipSync(elf)],
  ['zstd', () => withLength(zstdCompressSync(elf))],
  ['xz', () => withLength(xz(elf))],
  ['lz4', () => withLength(lz4(elf))],
])('unpacks a kernel packed by %s', async (_, pack) => {
  expect((await vmlinuxOf(bzImage(pack()), 'k')).equals(elf)).toBe(true);
});

test('takes an unpacked one as it is', async () => {
  expect(await vmlinuxOf(elf, 'k')).toBe(elf);
});

test.each([
  ['no kernel', Buffer.alloc(4096), 'neither a bzImage nor an ELF file'],
  ['an empty file', Buffer.alloc(0), 'neither a bzImage nor an ELF file'],
  ['an old header', bzImage(gzipSync(elf), (image) => image.writeUInt16LE(0x207, 0x206)), 'does not tell'],
  [
    'a length beyond its end',
    bzImage(gzipSync(elf), (image) => image.writeUInt32LE(2 ** 31, 0x24c)),
    'cut off',
  ],
  ['an unknown packing', bzImage(withLength(Buffer.alloc(100, 'LZMA'))), 'begins with 4c5a4d414c5a'],
  ['another length than it tells', bzImage(withLength(zstdCompressSync(elf), 7)), 'no ELF file of 7 bytes'],
  ['something else inside', bzImage(withLength(zstdCompressSync(Buffer.alloc(elf.length)))), 'no ELF file'],
  [
    'references to nowhere',
    bzImage(withLength(Buffer.concat([lz4Magic, Buffer.from([5, 0, 0, 0, 0x10, 1, 9, 0, 0])]))),
    'leads nowhere',
  ],
  [
    'a block that is cut off',
    bzImage(withLength(Buffer.concat([lz4Magic, Buffer.from([200, 0, 0, 0, 0x10, 1, 9, 0, 0])]))),
    'cut off',
  ],
  ['a length that would fill the memory', bzImage(withLength(zstdCompressSync(elf), 2 ** 31)), 'larger than'],
])('refuses %s', async (_, image, message) => {
  await expect(vmlinuxOf(image, 'k')).rejects.toThrow(message);
});
