import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Environment of git in tests: nothing of the machine's or the person's configuration. */
export const testGitEnvironment: NodeJS.ProcessEnv = {
  PATH: process.env['PATH'],
  HOME: '/nonexistent',
  LC_ALL: 'C',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  GIT_AUTHOR_NAME: 'Test',
  GIT_AUTHOR_EMAIL: 'test@example.invalid',
  GIT_COMMITTER_NAME: 'Test',
  GIT_COMMITTER_EMAIL: 'test@example.invalid',
};

/** A real git repository with a work tree, branch `main`. */
export interface TestRepository extends AsyncDisposable {
  readonly directory: string;
  /** Runs git in it; resolves to the trimmed output. */
  git(...args: string[]): Promise<string>;
  /** Writes files (path: content) and commits them; resolves to the commit's id. */
  commit(files: Record<string, string | Buffer>, message?: string): Promise<string>;
}

/** Made below `parent`, by default in a temporary directory of its own; removed when disposed. */
export async function createTestRepository({
  parent,
  name = 'repository',
}: {
  parent?: string;
  name?: string;
} = {}): Promise<TestRepository> {
  const root = parent ?? (await mkdtemp(join(tmpdir(), 'kiln-test-git-')));
  const directory = join(root, name);
  const git = (...args: string[]) => runTestGit(directory, ...args);
  await mkdir(directory, { recursive: true });
  await git('init', '--quiet', '--initial-branch=main', '--template=');
  return {
    directory,
    git,
    async commit(files, message = 'Change files') {
      for (const [path, content] of Object.entries(files)) {
        await mkdir(dirname(join(directory, path)), { recursive: true });
        await writeFile(join(directory, path), content);
        await git('add', '--', path);
      }
      await git('commit', '--quiet', '--allow-empty', '-m', message);
      return git('rev-parse', 'HEAD');
    },
    async [Symbol.asyncDispose]() {
      await rm(parent === undefined ? root : directory, { recursive: true, force: true });
    },
  };
}

/** Runs git in a directory; resolves to the trimmed output. */
export async function runTestGit(directory: string, ...args: string[]): Promise<string> {
  const { stdout } = await run('git', args, {
    cwd: directory,
    env: testGitEnvironment,
    maxBuffer: 64 * 1024 ** 2,
    timeout: 60_000,
  });
  return stdout.trim();
}
