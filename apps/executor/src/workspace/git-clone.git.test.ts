import { execFile } from 'node:child_process';
import { lstat, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JobDocument } from '@kiln/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startTestExecutor } from '../../../../test/kit/in-process-executor.ts';
import { type PlainJob, startPlainInstance } from '../../../../test/kit/plain-instance.ts';
import { createTestRepository, type TestRepository } from '../../../../test/kit/repository.ts';

const run = promisify(execFile);
const name = 'github.com/acme/widgets with space';

let repository: TestRepository;
let kept: string;

beforeEach(async () => {
  repository = await createTestRepository();
  kept = await mkdtemp(join(tmpdir(), 'kiln-kept-'));
});
afterEach(async () => {
  await repository[Symbol.asyncDispose]();
  await rm(kept, { recursive: true, force: true });
});

/** Runs a job on the repository and keeps its workspace. */
async function clone(document: Partial<JobDocument>): Promise<{ job: PlainJob; workspace: string }> {
  await using instance = await startPlainInstance({ repositories: { [name]: repository.directory } });
  await using _executor = await startTestExecutor({
    ...instance,
    directory: kept,
    env: { EXECUTOR_KEEP_WORKSPACES: 'true' },
  });
  const job = await instance.ended(instance.enqueue({ repositoryName: name, ...document }));
  const parent = join(kept, 'tmp', `kiln-executor-${process.getuid?.()}`);
  return { job, workspace: join(parent, (await readdir(parent))[0] ?? '') };
}

test('the workspace is kept on request, has origin as the plain name, and no trace of credentials', async () => {
  const commit = await repository.commit({ 'a.txt': 'a' });
  const { job, workspace } = await clone({ commit });
  expect(job.failureMessage).toBeUndefined();
  expect(job.logs.at(-1)?.out).toBe(`stderr: [kiln] the workspace is kept at ${workspace}\n`);
  const { stdout } = await run('git', ['-C', workspace, 'config', '--local', '--list'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' },
  });
  expect(stdout).toContain(`remote.origin.url=${name}\n`);
  expect(stdout).not.toMatch(/extraheader|Kiln-Clone|token/i);
  expect(JSON.stringify(job.logs)).not.toMatch(/Kiln-Clone|Bearer/);
});

test('sparse patterns fetch and check out only what they name', async () => {
  const commit = await repository.commit({ 'lib/a.txt': 'a', 'docs/b.txt': 'b' });
  const { job, workspace } = await clone({ commit, sparseCheckout: ['lib/*'], shallowClone: true });
  expect(job.failureMessage).toBeUndefined();
  expect(await readdir(workspace)).toEqual(['.git', 'lib']);
  const commandOf = (key: string) => job.logs.find((entry) => entry.key === key)?.command?.slice(3);
  expect(commandOf('setup.git.fetch')).toContain('--filter=blob:none');
  expect(commandOf('setup.git.sparse-checkout-set')).toEqual([
    'sparse-checkout',
    'set',
    '--no-cone',
    '--',
    'lib/*',
  ]);
  expect(commandOf('setup.git.checkout')?.slice(0, 3)).toEqual(['-c', 'protocol.version=2', 'checkout']);
});

test('tags come when asked for', async () => {
  const commit = await repository.commit({ 'a.txt': 'a' });
  await repository.git('tag', 'v1');
  const { workspace } = await clone({ commit, fetchTags: true, shallowClone: true });
  const { stdout } = await run('git', ['-C', workspace, 'tag'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' },
  });
  expect(stdout).toBe('v1\n');
});

test('a repository whose link leads out of the workspace gets no script written through it', async () => {
  await symlink('/etc', join(repository.directory, '.sourcegraph-executor'));
  await repository.git('add', '-A');
  const commit = await repository.commit({});
  const { job } = await clone({
    commit,
    dockerSteps: [{ key: '', image: 'any', commands: ['true'], dir: '', env: [] }],
  });
  expect(job.state).toBe('failed');
  expect(job.failureMessage).toBe('creating workspace: ".sourcegraph-executor" is a link');
});

test('hooks, submodules and filters of a hostile repository do nothing', async () => {
  const commit = await repository.commit({
    '.gitmodules': '[submodule "x"]\n\tpath = x\n\turl = file:///etc\n',
    '.gitattributes': '* filter=evil\n',
    '.githooks/post-checkout': '#!/bin/sh\ntouch /tmp/kiln-evil\n',
    'big.bin': 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n',
  });
  const { job, workspace } = await clone({ commit });
  expect(job.failureMessage).toBeUndefined();
  expect(await readFile(join(workspace, 'big.bin'), 'utf8')).toContain('git-lfs');
  await expect(lstat('/tmp/kiln-evil')).rejects.toThrow('ENOENT');
  expect(await readdir(join(workspace, '.git', 'hooks')).catch(() => [])).toEqual([]);
});

test('pointers of LFS and submodules are named in the log', async () => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n';
  const commit = await repository.commit({
    '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
    '.gitmodules': '[submodule "x"]\n\tpath = x\n\turl = https://example.invalid/x\n',
    'media/film.bin': pointer,
    'real.bin': 'not a pointer\n',
    'pointer.txt': pointer,
  });
  const { job } = await clone({ commit });
  expect(job.failureMessage).toBeUndefined();
  const out = job.logs.find(({ key }) => key === 'setup.git.missing')?.out;
  expect(out?.split('\n')).toEqual([
    'stderr: [kiln] files of Git LFS are pointers here, without their contents: "media/film.bin"',
    'stderr: [kiln] submodules are not cloned: their directories are empty',
    '',
  ]);
});

test('what git refuses of a repository is named with the check that found it', async () => {
  const commit = await repository.commit({
    '.gitmodules': '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n',
  });
  const { job } = await clone({ commit });
  expect(job.failureMessage).toMatch(
    /setup\.git\.fetch: command failed with exit code \d+: error: object [0-9a-f]{40}: gitmodulesUrl: /,
  );
});

test.each([
  [{ commit: '--upload-pack=touch /tmp/x' }, /is not a commit$/],
  [{ commit: 'abc', repositoryName: '../other' }, /has "\.\." in it/],
  [{ commit: 'abc', repositoryDirectory: '/etc' }, /is absolute/],
])('%o is refused', async (document, message) => {
  const { job } = await clone(document);
  expect(job.state).toBe('failed');
  expect(job.failureMessage).toMatch(message);
});
