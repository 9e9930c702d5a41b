import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testImages } from '../kit/images.ts';
import { startTestExecutor } from '../kit/in-process-executor.ts';
import { startPlainInstance } from '../kit/plain-instance.ts';
import { createTestRepository, type TestRepository, testGitEnvironment } from '../kit/repository.ts';
import { type HostileSite, hasEnded, startHostileSite } from './site.ts';

const { busybox: image } = testImages;
const steps = [{ image, run: 'ls -A' }];
let hostile: HostileSite;
let outside: string;
const repositories: AsyncDisposable[] = [];

beforeAll(async () => {
  hostile = await startHostileSite({ env: { EXECUTOR_MAXIMUM_NUM_JOBS: '4' } });
  outside = join(hostile.site.directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'precious'), 'precious\n');
});
afterAll(async () => {
  await hostile?.[Symbol.asyncDispose]();
  for (const repository of repositories) await repository[Symbol.asyncDispose]();
});

async function register(name: string): Promise<TestRepository> {
  const repository = await createTestRepository();
  repositories.push(repository);
  await hostile.site.kilnJson(['repo', 'add', name, repository.directory]);
  return repository;
}

it('nothing that a repository says is run: filters, hooks, helpers, configuration', async () => {
  const repository = await register('test/tricks');
  const evil = `touch ${join(outside, 'mark')}`;
  await repository.commit({
    '.gitattributes': '* filter=evil diff=evil merge=evil\n',
    '.gitconfig': `[filter "evil"]\n\tsmudge = ${evil}\n\tprocess = ${evil}\n[core]\n\tfsmonitor = ${evil}\n`,
    '.lfsconfig': `[lfs]\n\turl = http://127.0.0.1:1/\n[lfs "customtransfer.evil"]\n\tpath = ${evil}\n`,
    'hooks/post-checkout': `#!/bin/sh\n${evil}\n`,
    // Together they look like a bare repository whose configuration counts.
    config: `[core]\n\tbare = true\n\thooksPath = hooks\n\tfsmonitor = ${evil}\n`,
    HEAD: 'ref: refs/heads/main\n',
    'objects/x': '',
    'refs/x': '',
  });
  await hostile.run({ repository: 'test/tricks', revision: 'main', steps }, { state: 'completed' });
  expect(await readdir(outside)).toEqual(['precious']);
});

it('submodules that would run something are refused with a reason', async () => {
  const repository = await register('test/submodules');
  const evil = `touch ${join(outside, 'mark')}`;
  await repository.commit({
    '.gitmodules': [
      `[submodule "../../outside"]\n\tpath = sub\n\turl = ext::sh -c "${evil}"\n\tupdate = !${evil}`,
      `[submodule "-c"]\n\tpath = -c\n\turl = --upload-pack=${evil}`,
    ].join('\n'),
  });
  expect(await refusal('test/submodules')).toMatch(/gitmodules(Name|Url|Path|Update)/);
  expect(await readdir(outside)).toEqual(['precious']);
});

it('pointers of LFS and submodules are named in the log', async () => {
  const repository = await register('test/lfs');
  await repository.commit({
    '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
    '.gitmodules': '[submodule "lib"]\n\tpath = lib\n\turl = https://example.invalid/lib\n',
    'media/film.bin': `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 9\n`,
    'real.bin': 'not a pointer\n',
  });
  await repository.git('update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},lib`);
  await repository.git('commit', '--quiet', '-m', 'Submodule');
  const job = await hostile.run({ repository: 'test/lfs', revision: 'main', steps }, { state: 'completed' });
  const log = (await hostile.log(job.id)).toString();
  expect(log).toContain('files of Git LFS are pointers here, without their contents: "media/film.bin"\n');
  expect(log).toContain('submodules are not cloned');
});

it('no file of a job is written through a link of the repository', async () => {
  const repository = await register('test/links');
  await symlink(outside, join(repository.directory, 'link'));
  await symlink(join(outside, 'precious'), join(repository.directory, 'file'));
  await symlink('.git', join(repository.directory, 'dotgit'));
  await repository.git('add', '-A');
  await repository.commit({ 'a.txt': 'a' });
  const repositoryOfLinks = { repository: 'test/links', revision: 'main' };
  const submit = (path: string, expected: object) =>
    hostile.run({ ...repositoryOfLinks, files: { [path]: 'changed' }, steps }, expected);
  const refused = {
    state: 'failed',
    failureKind: 'failed',
    attempt: 1,
    failureMessage: expect.stringMatching(/creating workspace: "(link|dotgit)" is a link/),
  };
  await Promise.all(['link/precious', 'dotgit/hooks/post-checkout'].map((path) => submit(path, refused)));
  // In the place of a link that is a file, the file of the job stands.
  await submit('file', { state: 'completed' });
  expect(await readFile(join(outside, 'precious'), 'utf8')).toBe('precious\n');
  await hostile.run(
    { ...repositoryOfLinks, steps: [{ image, run: 'true', dir: 'link' }] },
    { state: 'failed' },
  );
});

describe('trees that git itself would never make', () => {
  it.each(['.git', '.GIT', '..', 'git~1', '.git\u200c'])(
    'with an entry %j are refused with a reason',
    async (name) => {
      const repositoryName = `test/tree-${Buffer.from(name).toString('hex')}`;
      const repository = await register(repositoryName);
      const commit = await commitEntry(repository, name);
      expect(await refusal(repositoryName)).toMatch(/hasDot|fsck|fetch/i);

      // An instance that looks at nothing hands it on: the executor's own git refuses it.
      await using instance = await startPlainInstance({
        repositories: { [repositoryName]: join(repository.directory, '.git') },
      });
      await using _executor = await startTestExecutor({
        url: instance.url,
        sharedSecret: instance.sharedSecret,
      });
      const job = await instance.ended(instance.enqueue({ repositoryName, commit }));
      expect(job.state).toBe('failed');
      expect(job.failureMessage).toMatch(/^creating workspace: setup\.git\.(fetch|checkout): /);
    },
  );
});

it('all of that has left nothing, and reached nothing', async () => {
  expect(await readdir(outside)).toEqual(['precious']);
  await expect.poll(() => hostile.leftovers(), { timeout: 120_000 }).toEqual([]);
});

/** Why a job of a repository cannot run: at the instance already, or at the executor. */
async function refusal(repository: string): Promise<string> {
  let id: number;
  try {
    id = await hostile.submit({ repository, revision: 'main', steps });
  } catch (error) {
    return String(error);
  }
  const job = await hostile.when(id, hasEnded);
  await hostile.expectJob(job, { state: 'failed' });
  return job.failureMessage ?? '';
}

/** A commit with a directory of any name. */
async function commitEntry(repository: TestRepository, name: string): Promise<string> {
  await repository.commit({ 'a.txt': 'a' });
  const blob = await repository.git('rev-parse', 'HEAD:a.txt');
  const inner = await makeTree(repository.directory, `100644 blob ${blob}\tconfig\n`);
  const tree = await makeTree(repository.directory, `040000 tree ${inner}\t${name}\n`);
  const commit = await repository.git('commit-tree', tree, '-m', 'Tree');
  await repository.git('update-ref', 'refs/heads/main', commit);
  return commit;
}

/** A tree of any entries, good or bad; resolves to its id. */
function makeTree(directory: string, entries: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('git', ['mktree'], { cwd: directory, env: testGitEnvironment }, (error, stdout) =>
      error ? reject(error) : resolve(stdout.trim()),
    );
    child.stdin?.end(entries);
  });
}
