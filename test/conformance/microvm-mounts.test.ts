import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MicrovmUnderTest, microvmUnderTest } from './microvm.ts';
import { startJob, testDirectory } from './runtime-under-test.ts';

const run = promisify(execFile);

let under: MicrovmUnderTest;
beforeAll(async () => {
  under = await microvmUnderTest();
}, 600_000);
afterAll(async () => {
  await under?.[Symbol.asyncDispose]();
});

test('a data directory on a file system without devices and programs serves as well', async () => {
  await using directory = await testDirectory();
  await run('mount', ['-t', 'tmpfs', '-o', 'nodev,noexec,nosuid,size=2g', 'kiln-test', directory.path]);
  try {
    // Told of snapshots: those of all tests lie on another file system.
    await using runtime = under.open({ dataDirectory: directory.path, warnings: [] });
    await using job = await startJob(runtime, under, directory.path, { network: 'public' });
    expect((await job.run('ip route | wc -l')).stdout).toBe('2\n');
  } finally {
    await run('umount', [directory.path]);
  }
});
