import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Blobs, openLocalBlobs } from './index.ts';

async function* bytes(...parts: string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part);
}

describe('local blobs', () => {
  let directory: string;
  let blobs: Blobs;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kiln-blobs-'));
    blobs = await openLocalBlobs(directory);
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function read(key: string, range?: { start: number; end: number }): Promise<string | undefined> {
    const blob = await blobs.get(key, range);
    return blob && Buffer.concat(await Array.fromAsync(blob.body)).toString();
  }

  it('give back what was put, whole or a range of it', async () => {
    expect(await blobs.put('logs/042/1', bytes('abc', 'def'))).toEqual({ sizeBytes: 6 });
    expect(await read('logs/042/1')).toBe('abcdef');
    expect(await read('logs/042/1', { start: 2, end: 4 })).toBe('cd');
    expect(await read('logs/042/1', { start: 3, end: 3 })).toBe('');
    expect(await read('logs/042/1', { start: 4, end: 99 })).toBe('ef');
    expect((await blobs.get('logs/042/1', { start: 0, end: 1 }))?.sizeBytes).toBe(6);
    await blobs.put('logs/042/1', bytes('new'));
    expect(await read('logs/042/1')).toBe('new');
  });

  it('know nothing of what was deleted or never there', async () => {
    await blobs.put('gone', bytes('x'));
    await blobs.delete('gone');
    await blobs.delete('gone');
    expect(await blobs.get('gone')).toBeUndefined();
    expect(await blobs.get('never')).toBeUndefined();
  });

  it('leave nothing of a blob whose source failed', async () => {
    async function* failing(): AsyncGenerator<Buffer> {
      yield Buffer.from('half');
      throw new Error('the source broke');
    }
    await expect(blobs.put('half', failing())).rejects.toThrow('the source broke');
    expect(await blobs.get('half')).toBeUndefined();
    expect(await readdir(join(directory, 'unfinished'))).toEqual([]);
  });

  it('remove what a killed process left unfinished, and leave what another one is writing', async () => {
    const other = join(directory, 'other');
    await mkdir(join(other, 'unfinished'), { recursive: true });
    const twoHoursAgo = new Date(Date.now() - 7_200_000);
    await writeFile(join(other, 'unfinished', 'abandoned'), 'x');
    await utimes(join(other, 'unfinished', 'abandoned'), twoHoursAgo, twoHoursAgo);
    await writeFile(join(other, 'unfinished', 'in-progress'), 'x');
    await openLocalBlobs(other);
    expect(await readdir(join(other, 'unfinished'))).toEqual(['in-progress']);
  });

  it('refuse keys that lead elsewhere', async () => {
    for (const key of ['', '..', '../a', 'a/../b', '/a', 'a//b', 'a/', 'a\0b', 'a b', '.', 'x'.repeat(300)]) {
      await expect(blobs.put(key, bytes('x')), key).rejects.toThrow(RangeError);
      await expect(blobs.get(key), key).rejects.toThrow(RangeError);
      await expect(blobs.delete(key), key).rejects.toThrow(RangeError);
    }
  });
});
