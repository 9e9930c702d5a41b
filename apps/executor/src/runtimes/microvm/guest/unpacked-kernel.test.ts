import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { unpackedKernel } from './unpacked-kernel.ts';

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'kiln-unpacked-'));
});
afterEach(() => rm(base, { recursive: true }));

async function kernel(content: string): Promise<string> {
  const path = join(base, 'kernel');
  await writeFile(path, `\x7fELF${content}`);
  return path;
}

test('is made once for each guest, and those of others go', async () => {
  const directory = join(base, 'microvm');
  const first = await unpackedKernel(directory, await kernel('one'), 'aaaa');
  expect(await unpackedKernel(directory, await kernel('two'), 'aaaa')).toBe(first);
  expect(await readFile(first, 'utf8')).toBe('\x7fELFone');
  const second = await unpackedKernel(directory, await kernel('two'), 'bbbb');
  expect(await readFile(second, 'utf8')).toBe('\x7fELFtwo');
  expect(await readdir(directory)).toEqual(['vmlinux-bbbb']);
});

test('of a kernel of somebody’s own is made each time', async () => {
  await unpackedKernel(base, await kernel('one'), undefined);
  const path = await unpackedKernel(base, await kernel('two'), undefined);
  expect(await readFile(path, 'utf8')).toBe('\x7fELFtwo');
});
