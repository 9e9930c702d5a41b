import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type PlainInstance, startPlainInstance } from '../../../../test/kit/plain-instance.ts';
import { createTestRepository, type TestRepository } from '../../../../test/kit/repository.ts';
import { readSettings, thisHost } from '../env/index.ts';
import { cloneForTestVm } from './test-vm-repository.ts';

let root: string;
let repository: TestRepository;
let instance: PlainInstance;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kiln-test-vm-clone-'));
  repository = await createTestRepository();
  instance = await startPlainInstance({ repositories: { 'acme/widgets': repository.directory } });
});
afterEach(async () => {
  await instance[Symbol.asyncDispose]();
  await repository[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

/** @returns what was printed */
async function clone(revision: string, sharedSecret = instance.sharedSecret): Promise<string> {
  const { settings } = readSettings(
    {
      EXECUTOR_FRONTEND_URL: instance.url.href,
      EXECUTOR_FRONTEND_PASSWORD: sharedSecret,
      EXECUTOR_QUEUE_NAME: 'codeintel',
      EXECUTOR_USE_FIRECRACKER: 'false',
    },
    thisHost({}),
  );
  const directory = join(root, 'workspace');
  await mkdir(directory);
  let printed = '';
  await cloneForTestVm(
    { settings, executorName: 'test-vm-00000000' },
    { repo: 'acme/widgets', revision },
    { directory, stateDirectory: root, path: process.env['PATH'] ?? '' },
    (text) => {
      printed += text;
    },
    AbortSignal.timeout(60_000),
  );
  return printed;
}

test.each(['commit', 'branch'])('a repository is cloned at a %s, and each command shown', async (kind) => {
  const commit = await repository.commit({ 'a.txt': 'first' });
  if (kind === 'commit') await repository.commit({ 'a.txt': 'second' });
  const printed = await clone(kind === 'commit' ? commit : 'main');
  expect(await readFile(join(root, 'workspace', 'a.txt'), 'utf8')).toBe('first');
  expect(printed).toContain('setup.git.checkout: git -C ');
  expect(printed).not.toContain(instance.sharedSecret);
  expect(await readdir(root)).toEqual(['workspace']);
});

test('an instance that gives repositories to jobs alone is told, with the way out', async () => {
  await repository.commit({ 'a.txt': 'first' });
  await expect(clone('main', 'not-the-secret')).rejects.toThrow(/403.*use --directory/);
});
