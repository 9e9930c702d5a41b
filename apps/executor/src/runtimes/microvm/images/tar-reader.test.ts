import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readTar, type TarEntry } from './tar-reader.ts';
import { tarEnd, tarHeader, tarPadding, type WrittenEntry } from './tar-writer.ts';

const maxHeaderBytes = 64 * 1024;

function entry(fields: Partial<WrittenEntry>): WrittenEntry {
  const owner = { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
  return { type: 'file', path: 'f', linkPath: '', size: 0, ...owner, xattrs: new Map(), ...fields };
}

async function readAll(archive: Buffer, chunkBytes = 700): Promise<{ entry: TarEntry; content: string }[]> {
  const reader = readTar(chunksOf(archive, chunkBytes), maxHeaderBytes);
  const found: { entry: TarEntry; content: string }[] = [];
  for (let next = await reader.next(); next; next = await reader.next()) {
    const parts: Buffer[] = [];
    for await (const part of reader.content()) parts.push(Buffer.from(part));
    found.push({ entry: next, content: Buffer.concat(parts).toString() });
  }
  return found;
}

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function archiveOf(...entries: [WrittenEntry, string?][]): Buffer {
  return Buffer.concat([
    ...entries.flatMap(([one, content = '']) => [
      tarHeader({ ...one, size: content.length }),
      Buffer.from(content),
      tarPadding(content.length),
    ]),
    tarEnd,
  ]);
}

test('reads back what the writer writes, in chunks of any size', async () => {
  const name = fc.string({
    unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
    minLength: 1,
    maxLength: 300,
  });
  const entries = fc.array(
    fc.record({
      path: name.filter((path) => !path.endsWith('/')),
      linkPath: name,
      type: fc.constantFrom('file', 'symlink', 'hardlink', 'directory', 'fifo'),
      mode: fc.integer({ min: 0, max: 0o7777 }),
      uid: fc.nat(2 ** 31 - 1),
      gid: fc.nat(2 ** 31 - 1),
      mtime: fc.nat(2 ** 31 - 1),
      xattr: fc.uint8Array({ maxLength: 300 }),
      content: fc.string({ unit: 'grapheme-ascii', maxLength: 2000 }),
    }),
    { maxLength: 5 },
  );
  await fc.assert(
    fc.asyncProperty(entries, fc.integer({ min: 1, max: 3000 }), async (list, chunkBytes) => {
      const written = list.map(({ xattr, content, ...fields }): [WrittenEntry, string] => [
        entry({ ...(fields as Partial<WrittenEntry>), xattrs: new Map([['user.x', Buffer.from(xattr)]]) }),
        fields.type === 'file' ? content : '',
      ]);
      const found = await readAll(archiveOf(...written), chunkBytes);
      expect(found.map(({ entry: { offset, size, ...fields }, content }) => ({ fields, content }))).toEqual(
        written.map(([{ size, ...fields }, content]) => ({
          fields: { ...fields, path: fields.type === 'directory' ? `${fields.path}/` : fields.path },
          content,
        })),
      );
    }),
    { numRuns: 60 },
  );
});

describe('archives of the system', () => {
  test.each(['gnu', 'posix', 'ustar', 'v7'])('in %s form are read', async (format) => {
    const directory = await mkdtemp(join(tmpdir(), 'tar-reader-'));
    try {
      const long = format === 'v7' || format === 'ustar' ? 'short' : 'n'.repeat(180);
      await writeFile(join(directory, long), 'content');
      const archive = execFileSync(
        'tar',
        [`--format=${format}`, '--owner=7', '--group=8', '-cf', '-', long],
        {
          cwd: directory,
        },
      );
      expect(await readAll(archive)).toMatchObject([
        { entry: { path: long, type: 'file', size: 7, uid: 7, gid: 8 }, content: 'content' },
      ]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('are read with the path that is split in two', async () => {
    const path = `${'d'.repeat(120)}/${'f'.repeat(80)}`;
    const bytes = archiveOf([entry({ path: 'x' })]);
    bytes.fill(0, 0, 100);
    bytes.write('f'.repeat(80), 0);
    bytes.write('d'.repeat(120), 345);
    expect(await readAll(resummed(bytes))).toMatchObject([{ entry: { path } }]);
  });

  test('are read by tar as we write them', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tar-writer-'));
    try {
      const path = `${'d'.repeat(150)}/${'f'.repeat(90)}`;
      await writeFile(
        join(directory, 'a.tar'),
        archiveOf(
          [entry({ path, uid: 3_000_000, mtime: 1 }), 'hello'],
          [entry({ path: 'l', type: 'hardlink', linkPath: path })],
        ),
      );
      const listing = execFileSync('tar', ['--numeric-owner', '-tvf', 'a.tar'], {
        cwd: directory,
      }).toString();
      expect(listing).toMatch(
        new RegExp(`^-rw-r--r-- 3000000/0 +5 1970-01-01 .*${path}\n.* l link to ${path}\n$`),
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

describe('hostile archives are refused', () => {
  const good = archiveOf([entry({ path: 'file' }), 'x'.repeat(600)]);

  test.each([
    ['cut in a header', good.subarray(0, 300), 'ends in the middle'],
    ['cut in a content', good.subarray(0, 700), 'ends in the middle'],
    ['a wrong checksum', changed(good, 0, 'g'), 'does not match its checksum'],
    ['no archive at all', Buffer.from('<html>'.repeat(200)), 'is no number'],
    ['letters in a number', resummed(changed(good, 124, 'zz')), 'size of an entry is no number'],
    ['a negative size', resummed(changed(good, 124, '\xff\xff')), 'negative size'],
    ['an absurd size', resummed(changed(good, 124, '\x80\xff\xff')), 'absurd size'],
    ['a sparse file', resummed(changed(good, 156, 'S')), 'a kind that images do not have'],
    ['a multi-volume part', resummed(changed(good, 156, 'M')), 'a kind that images do not have'],
    ['a sparse file of pax', paxed('22 GNU.sparse.major=1\n'), 'sparse'],
    ['a pax record longer than the rest', paxed('99 path=x\n'), 'pax header cannot be read'],
    ['a pax record without a length', paxed('path=x\n'), 'pax header cannot be read'],
    ['a pax record without a key', paxed('8 path\n\n'), 'pax header cannot be read'],
    ['a pax record of no length', paxed('0 path=x\n'), 'pax header cannot be read'],
    ['a pax size that is no number', paxed('11 size=-1\n'), 'absurd size'],
    ['a pax path with a zero byte', paxed('12 path=a\0b\n'), 'zero byte'],
  ])('%s', async (_, archive, message) => {
    await expect(readAll(archive)).rejects.toThrow(message);
  });

  test('headers that would fill the memory are not read', async () => {
    for (const kind of ['x', 'L', 'K', 'g']) {
      const header = changed(tarHeader(entry({ size: 8 * 2 ** 30 - 1 })), 156, kind);
      await expect(readAll(resummed(header))).rejects.toThrow('has a header of 8 GiB');
    }
  });

  test('any damage to any byte gives an error or an archive, and ends', async () => {
    const archive = archiveOf(
      [entry({ path: 'p'.repeat(120), xattrs: new Map([['user.a', Buffer.from('b')]]) }), 'content'],
      [entry({ path: 'd', type: 'directory' })],
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(archive.length - 1), fc.nat(255), async (at, value) => {
        const damaged = Buffer.from(archive);
        damaged[at] = value;
        await readAll(damaged).catch((error: Error) => expect(error.name).toBe('ImageError'));
      }),
      { numRuns: 300 },
    );
  });
});

function changed(archive: Buffer, at: number, bytes: string): Buffer {
  const copy = Buffer.from(archive);
  copy.write(bytes, at, 'latin1');
  return copy;
}

/** With the first header's checksum put right. */
function resummed(archive: Buffer): Buffer {
  const copy = Buffer.from(archive);
  copy.fill(32, 148, 156);
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return copy;
}

function paxed(records: string): Buffer {
  const body = Buffer.from(records, 'latin1');
  const header = changed(tarHeader(entry({ size: body.length })), 156, 'x');
  return Buffer.concat([resummed(header), body, tarPadding(body.length), archiveOf([entry({}), 'x'])]);
}
