import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobDocument } from '@kiln/protocol';
import type { JobClient } from '../client/index.ts';
import type { JobLog } from '../logs/index.ts';
import { type GitProxy, openGitProxy, proxyKeyHeader } from './git-proxy.ts';
import { runHostCommand } from './host-command.ts';
import { makeDirectoryInside, pathComponents } from './inside.ts';
import { noteWhatIsMissing } from './missing-contents.ts';

/** What to clone, as job documents name it. */
type CloneSource = Pick<
  JobDocument,
  'repositoryName' | 'commit' | 'repositoryDirectory' | 'fetchTags' | 'shallowClone' | 'sparseCheckout'
>;

export interface CloneOptions {
  document: CloneSource;
  workspaceDirectory: string;
  /** A private directory of this executor. */
  stateDirectory: string;
  client: Pick<JobClient, 'forward'>;
  log: Pick<JobLog, 'begin'>;
  path: string;
  signal: AbortSignal;
}

/** The instance may be away for a while (an upgrade); the job's own time limit still holds. */
const outageSeconds = 15 * 60;
const longestWaitSeconds = 30;

/**
 * Clones the job's repository by the sequence and log keys of the reference; nothing if it names none.
 * `origin` ends up as the plain repository name, which code-intelligence indexers want.
 */
export async function cloneRepository(options: CloneOptions): Promise<void> {
  const { document, client, log, signal } = options;
  const { repositoryName, commit } = document;
  if (repositoryName === '') return;
  if (pathComponents(repositoryName).join('/') !== repositoryName)
    throw new Error(`${JSON.stringify(repositoryName)} is not the name of a repository`);
  if (!/^[0-9A-Za-z_][\w./-]*$/.test(commit)) throw new Error(`${JSON.stringify(commit)} is not a commit`);
  const directory = await makeDirectoryInside(
    options.workspaceDirectory,
    pathComponents(document.repositoryDirectory),
  );
  await using proxy = await openGitProxy(client, repositoryName, signal);
  await using home = await makeGitHome(options.stateDirectory, proxy);
  const env = gitEnvironment(options.path, home.directory);
  const git = (key: string, args: string[], again?: Parameters<typeof runHostCommand>[3]) =>
    runHostCommand(
      { key: `setup.git.${key}`, argv: ['git', '-C', directory, ...args], env },
      log,
      signal,
      again,
    );

  await git('init', ['init']);
  await git('add-remote', ['remote', 'add', 'origin', proxy.remoteUrl]);
  await git('disable-gc', ['config', '--local', 'gc.auto', '0']);
  const startedAt = performance.now();
  let waitSeconds = 1;
  await git(
    'fetch',
    [
      '-c',
      'protocol.version=2',
      'fetch',
      '--progress',
      '--no-recurse-submodules',
      ...fetchFlags(document),
      'origin',
      commit,
    ],
    async (entry) => {
      if (!proxy.takeTrouble() || performance.now() - startedAt > outageSeconds * 1000) return false;
      waitSeconds = Math.min(longestWaitSeconds, waitSeconds * 2);
      entry.note(`the instance could not be reached; trying again in ${waitSeconds} s`);
      await sleep(waitSeconds * 1000, undefined, { signal });
      return true;
    },
  );
  const sparse = document.sparseCheckout.length > 0;
  if (sparse) {
    await git('sparse-checkout-config', ['config', '--local', 'core.sparseCheckout', '1']);
    await git('sparse-checkout-set', [
      'sparse-checkout',
      'set',
      '--no-cone',
      '--',
      ...document.sparseCheckout,
    ]);
  }
  await git('checkout', [
    ...(sparse ? ['-c', 'protocol.version=2'] : []),
    'checkout',
    '--progress',
    '--force',
    commit,
  ]);
  await noteWhatIsMissing({ directory, env, log, signal });
  await git('set-remote', ['remote', 'set-url', 'origin', repositoryName]);
}

function fetchFlags(document: CloneSource): string[] {
  const { fetchTags, shallowClone, sparseCheckout } = document;
  return [
    ...(fetchTags ? ['--tags'] : shallowClone ? ['--no-tags'] : []),
    ...(shallowClone ? ['--depth=1'] : []),
    ...(sparseCheckout.length > 0 ? ['--filter=blob:none'] : []),
  ];
}

/**
 * Settings of git for an untrusted repository, in the home directory of this clone alone: no hooks, no helpers, no
 * other protocol than the proxy's, objects checked. Checks that old, honest histories are known to fail are left out.
 */
function gitConfig(proxy: GitProxy): string {
  const ignored = [
    'missingSpaceBeforeDate',
    'badTimezone',
    'missingEmail',
    'badDate',
    'badName',
    'missingNameBeforeEmail',
    'missingSpaceBeforeEmail',
    'zeroPaddedDate',
    'multipleAuthors',
    'missingTaggerEntry',
  ];
  return `[core]
	hooksPath = /dev/null
	fsmonitor = false
	protectNTFS = true
	askPass =
	attributesFile = /dev/null
	excludesFile = /dev/null
[credential]
	helper =
[protocol]
	allow = never
[protocol "http"]
	allow = always
[http]
	followRedirects = false
	proxy =
	lowSpeedLimit = 1
	lowSpeedTime = 300
[http "${new URL(proxy.remoteUrl).origin}/"]
	extraHeader = ${proxyKeyHeader}: ${proxy.key}
[submodule]
	recurse = false
[gc]
	auto = 0
[maintenance]
	auto = false
[init]
	defaultBranch = main
	templateDir =
[advice]
	detachedHead = false
[safe]
	directory = *
[fetch]
	fsckObjects = true
[fetch "fsck"]
${ignored.map((id) => `\t${id} = ignore\n`).join('')}`;
}

async function makeGitHome(
  stateDirectory: string,
  proxy: GitProxy,
): Promise<{ directory: string } & AsyncDisposable> {
  const directory = await mkdtemp(join(stateDirectory, 'git-'));
  await writeFile(join(directory, '.gitconfig'), gitConfig(proxy), { mode: 0o600 });
  return {
    directory,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

function gitEnvironment(path: string, home: string): Record<string, string> {
  return {
    PATH: path,
    HOME: home,
    XDG_CONFIG_HOME: home,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_LFS_SKIP_SMUDGE: '1',
    // Names of repositories and files in messages whatever the machine's language is.
    LC_ALL: 'C.UTF-8',
  };
}
