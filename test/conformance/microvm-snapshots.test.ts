import { readdir, readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MicrovmUnderTest, microvmUnderTest } from './microvm.ts';
import { startJob, testDirectory } from './runtime-under-test.ts';

let under: MicrovmUnderTest;
beforeAll(async () => {
  under = await microvmUnderTest();
}, 600_000);
afterAll(async () => {
  await under?.[Symbol.asyncDispose]();
});

const identityScript = `
cat /etc/machine-id /proc/sys/kernel/random/boot_id
head -c 32 /dev/urandom | od -A n -t x1 | tr -d ' \\n'
`;

test('VMs of one snapshot have an identity and random numbers each, the time, and nothing of each other', async () => {
  await using directory = await testDirectory();
  const warnings: string[] = [];
  await using runtime = under.open({ dataDirectory: directory.path, warnings });
  await using first = await startJob(runtime, under, directory.path);
  expect(
    (await first.run('echo "of the first job" >/data/file; echo "of the first job" >/file')).exitCode,
  ).toBe(0);
  const snapshot = await newestSnapshot(directory.path);
  const before = await stat(snapshot);
  await using second = await startJob(runtime, under, directory.path, { network: 'public' });
  for (const { notices } of [first, second])
    expect(notices.join('\n')).toMatch(/the VM \S+ is up after \S+ s from a snapshot/);

  const said = await runtime.inEach(['/bin/sh', '-c', identityScript]);
  const words = said.flatMap((text) => text.trim().split('\n'));
  expect(words).toHaveLength(6);
  expect(new Set(words).size).toBe(6);
  // The clock is set when the VM goes on; that message takes its time.
  const earliest = Math.floor(Date.now() / 1000) - 10;
  const times = (await runtime.inEach(['date', '+%s'])).map(Number);
  for (const time of times) {
    expect(time).toBeGreaterThanOrEqual(earliest);
    expect(time).toBeLessThanOrEqual(Date.now() / 1000 + 1);
  }

  expect((await second.run('cat /data/file /file 2>/dev/null; true')).stdout).toBe('');
  const after = await stat(snapshot);
  expect([after.ino, after.size, after.mtimeMs]).toEqual([before.ino, before.size, before.mtimeMs]);
  expect(after.mode & 0o777).toBe(0o600);
  expect((await readFile(snapshot)).includes('of the first job')).toBe(false);
  expect(warnings).toEqual([]);
});

test('a damaged snapshot costs time, and no job', async () => {
  await using directory = await testDirectory();
  const warnings: string[] = [];
  await using runtime = under.open({ dataDirectory: directory.path, warnings });
  // Of a shape of its own: the others are of all tests.
  const options = { limits: { memoryBytes: 192 * 1024 ** 2 }, network: 'public' } as const;
  await (await startJob(runtime, under, directory.path, options))[Symbol.asyncDispose]();
  const snapshot = await newestSnapshot(directory.path);
  await truncate(snapshot, 1024 * 1024);

  await using job = await startJob(runtime, under, directory.path, options);
  expect((await job.run('echo works')).stdout).toBe('works\n');
  expect(job.notices.join('\n')).toContain('it boots instead');
  expect(warnings.join('\n')).toContain('could not go on from a snapshot');
  await expect(stat(snapshot)).rejects.toThrow('ENOENT');
});

async function newestSnapshot(data: string): Promise<string> {
  const directory = join(data, 'snapshots');
  const all = await Promise.all(
    (await readdir(directory)).map(async (name) => {
      const path = join(directory, name);
      return { path, madeMs: (await stat(path)).mtimeMs };
    }),
  );
  return all.sort((a, b) => b.madeMs - a.madeMs)[0]?.path ?? '';
}
