import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readCgroupUsage } from './cgroup-usage.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kiln-cgroup-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

test('reads the unified hierarchy', async () => {
  await write('kiln-a/1/cpu.stat', 'usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n');
  await write('kiln-a/1/memory.peak', '4096\n');
  expect(await readCgroupUsage('/kiln-a/1', root)).toEqual({ cpuSeconds: 1.5, peakMemoryBytes: 4096 });
});

test('reads the older hierarchies', async () => {
  await write('cpuacct/kiln-a/1/cpuacct.usage', '2500000000\n');
  await write('memory/kiln-a/1/memory.max_usage_in_bytes', '8192\n');
  expect(await readCgroupUsage('/kiln-a/1', root)).toEqual({ cpuSeconds: 2.5, peakMemoryBytes: 8192 });
});

test('says nothing where nothing is to be seen', async () => {
  expect(await readCgroupUsage('/kiln-a/1', root)).toEqual({});
});
