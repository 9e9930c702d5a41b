import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { testImages } from '../kit/images.ts';
import { createTestRepository, type TestRepository } from '../kit/repository.ts';
import { type HostileSite, startHostileSite } from './site.ts';

const run = promisify(execFile);
const { busybox: image } = testImages;
const diskMegabytes = 24;
let directory: string;
let repository: TestRepository;
let hostile: HostileSite;
let mounted = false;

/** Workspaces and state of the executor are on a file system of their own, which is soon full. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kf-'));
  await run('mount', ['-t', 'tmpfs', '-o', `size=${diskMegabytes}m`, 'tmpfs', directory]);
  mounted = true;
  for (const name of ['tmp', 'data']) await mkdir(join(directory, name));
  repository = await createTestRepository();
  // Does not get smaller by compression.
  const { stdout } = await run('head', ['-c', String(20 * 2 ** 20), '/dev/urandom'], {
    encoding: 'buffer',
    maxBuffer: 2 ** 25,
  });
  await repository.commit({ 'big.bin': stdout });
  hostile = await startHostileSite({
    env: {
      TMPDIR: join(directory, 'tmp'),
      EXECUTOR_DATA_DIR: join(directory, 'data'),
      EXECUTOR_MIN_FREE_DISK: '100K',
    },
  });
  await hostile.site.kilnJson(['repo', 'add', 'test/big', repository.directory]);
});
afterAll(async () => {
  await hostile?.[Symbol.asyncDispose]();
  await repository?.[Symbol.asyncDispose]();
  if (mounted) await run('umount', ['--lazy', directory]);
  await rm(directory, { recursive: true, force: true });
});

it('a repository that does not fit', async () => {
  await hostile.run(
    { repository: 'test/big', revision: 'main', steps: [{ image, run: 'true' }] },
    failedWith(/No space left on device|Out of diskspace|the disk of the executor is full/),
  );
});

it('files of the job that do not fit', async () => {
  const content = { base64: Buffer.alloc(4 * 2 ** 20, 1).toString('base64') };
  await writeFile(join(directory, 'ballast'), Buffer.alloc(22 * 2 ** 20, 1));
  try {
    await hostile.run(
      { steps: [{ image, run: 'true' }], files: { big: content } },
      failedWith(/the disk of the executor is full/),
    );
  } finally {
    await rm(join(directory, 'ballast'));
  }
});

it('a step that fills the disk is stopped with the reason, its outcome is told, and the next job runs', async () => {
  await hostile.run(
    { steps: [{ image, run: 'cat /dev/zero >fill || true; sleep 150' }] },
    failedWith(/killed: this machine has only .* of disk space left/),
  );
  await hostile.run({ steps: [{ image, run: 'echo again' }] }, { state: 'completed' });
  await expect.poll(() => hostile.leftovers(), { timeout: 120_000 }).toEqual([]);
});

function failedWith(message: RegExp): object {
  return { state: 'failed', attempt: 1, failureMessage: expect.stringMatching(message) };
}
