import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeDurably } from './durable-file.ts';

test('a file is written, closed to others, with nothing beside it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kiln-durable-'));
  try {
    const path = join(directory, 'file');
    await writeDurably(path, 'first');
    await writeDurably(path, 'second');
    expect(await readFile(path, 'utf8')).toBe('second');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['file']);
    await expect(writeDurably(join(directory, 'absent', 'file'), 'x')).rejects.toThrow('ENOENT');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
