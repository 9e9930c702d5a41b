import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CloneURL } from './clone-url.ts';
import { directorySize } from './directory-size.ts';
import { type Git, GitError } from './git-process.ts';
import type { RepositoryLimits } from './limits.ts';
import { checkLocalSource } from './local-source.ts';
import { createPromiseCache } from './promise-cache.ts';
import { removeStaleLocks } from './stale-locks.ts';

/** Directories of first fetches that have not finished; one that nobody writes to any more is rubbish. */
export const unfinishedPrefix = 'unfinished-';

/** What a fetch found out about a repository. */
export interface FetchedState {
  /** Null: its HEAD is no branch, or it is empty. */
  defaultBranch: string | null;
  /** Null: it is empty. */
  headCommit: string | null;
  sizeBytes: number;
}

/** The mirror grew past its limit. */
export class MirrorTooLargeError extends Error {
  override readonly name = 'MirrorTooLargeError';
}

/**
 * A bare copy of one repository in a directory of ours: its branches and tags under their own names, the commit of
 * its HEAD as `refs/kiln/head`, commits that jobs named as `refs/kiln/jobs/YYYY-MM/COMMIT`. `refs/kiln` is never shown
 * to clients. Fetches are the caller's to serialise; everything else may run at any time.
 */
export interface Mirror {
  readonly directory: string;
  /** It was fetched once, completely. */
  exists(): Promise<boolean>;
  /** Brings it up to date; makes it where it is missing. @throws GitError, LocalSourceError, MirrorTooLargeError */
  fetch(signal: AbortSignal): Promise<FetchedState>;
  /** Fetches one object by its id, if the source gives it out. Resolves to whether it did. */
  fetchObject(id: string, signal: AbortSignal): Promise<boolean>;
  /** The commit that a (checked) revision means here. */
  findCommit(revision: string): Promise<string | undefined>;
  /** Those of the objects that are not here. */
  missingObjects(ids: string[]): Promise<string[]>;
  /** Keeps a commit from being pruned, whatever happens to its branch. */
  keepCommit(commit: string): Promise<void>;
  /** Repacks it where many fetches have left many packs, and drops what nothing needs. */
  maintain(signal: AbortSignal): Promise<void>;
}

export interface MirrorOptions {
  git: Git;
  directory: string;
  url: CloneURL;
  limits: RepositoryLimits;
  /** Local sources inside it are refused. */
  dataDirectory: string;
  now: () => Date;
}

/** How often the size is looked at: a source at 1 GB/s exceeds its limit by a fraction of a GB. */
const sizeCheckSeconds = 0.25;
const headRef = 'refs/kiln/head';
const jobRefs = 'refs/kiln/jobs';

export function createMirror({ git, directory, url, limits, dataDirectory, now }: MirrorOptions): Mirror {
  const read = (args: string[], input?: string) =>
    git.run({
      args: [`--git-dir=${directory}`, ...args],
      timeoutSeconds: limits.commandSeconds,
      ...(input === undefined ? {} : { input }),
    });

  // Plain http is for servers that were named; one that such a server points to was not.
  const networkOptions = url.protocol === 'http' ? ['-c', 'http.followRedirects=false'] : [];
  /** Revisions looked up since the last fetch, and references of jobs' commits: many jobs name the same. */
  const commits = createPromiseCache<string>(10_000);
  const keptRefs = createPromiseCache<true>(10_000);
  const openedAt = now();
  let locksCleared = false;

  async function exists(): Promise<boolean> {
    // The directory appears by a rename, when its first fetch is complete.
    return stat(directory).then(
      () => true,
      (err: NodeJS.ErrnoException) => {
        if (err.code === 'ENOENT') return false;
        throw err;
      },
    );
  }

  async function fetch(signal: AbortSignal): Promise<FetchedState> {
    if (await exists()) {
      if (!locksCleared) await removeStaleLocks(directory, openedAt);
      locksCleared = true;
      return fetchInto(directory, signal);
    }
    const unfinished = join(dirname(directory), unfinishedPrefix + randomBytes(8).toString('hex'));
    try {
      await mkdir(unfinished, { mode: 0o700 });
      // --template=: no hooks, no info/exclude, nothing of the machine's.
      await git.run({
        args: ['init', '--quiet', '--bare', '--template=', '--', unfinished],
        timeoutSeconds: limits.commandSeconds,
      });
      const state = await fetchInto(unfinished, signal);
      await rename(unfinished, directory);
      // Kept in a mirror that somebody deleted.
      keptRefs.clear();
      return state;
    } catch (err) {
      await rm(unfinished, { recursive: true, force: true });
      throw err;
    }
  }

  async function fetchInto(target: string, signal: AbortSignal): Promise<FetchedState> {
    const address = await sourceAddress();
    const head = await remoteHead(target, address, signal);
    const refspecs = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];
    if (head.commit !== null) refspecs.push(`+HEAD:${headRef}`);
    await transfer(target, signal, ['--prune', '--no-tags', '--', address, ...refspecs]);
    const sizeBytes = await directorySize(target);
    if (sizeBytes > limits.maxMirrorBytes) throw tooLarge();
    if (head.commit === null) {
      // Also deletes what does not exist; only a ref that is there and wrong would be a mistake.
      await git.run({
        args: [`--git-dir=${target}`, 'update-ref', '-d', headRef],
        timeoutSeconds: limits.commandSeconds,
      });
      commits.clear();
      return { defaultBranch: null, headCommit: null, sizeBytes };
    }

    // As fetched, not as listed: the source may have moved in between.
    const headCommit = await commitOf(target, headRef);
    const headArgs =
      head.branch === null
        ? ['update-ref', '--no-deref', 'HEAD', headCommit ?? head.commit]
        : ['symbolic-ref', 'HEAD', `refs/heads/${head.branch}`];
    await git.run({
      args: [`--git-dir=${target}`, ...headArgs],
      timeoutSeconds: limits.commandSeconds,
    });
    return { defaultBranch: head.branch, headCommit: headCommit ?? null, sizeBytes };
  }

  async function fetchObject(id: string, signal: AbortSignal): Promise<boolean> {
    const address = await sourceAddress();
    try {
      await transfer(directory, signal, ['--no-tags', '--', address, `+${id}:${jobRef(id)}`]);
      return true;
    } catch (err) {
      // "not our ref" and its kin: the source does not have it, or does not give out what no branch leads to.
      if (err instanceof GitError && err.kind === 'failed') return false;
      throw err;
    }
  }

  /** One `git fetch` within its limits of time and size. The address is an argument, never a stored remote. */
  async function transfer(target: string, signal: AbortSignal, args: string[]): Promise<void> {
    const size = new AbortController();
    const watch = watchSize(target, () => size.abort(tooLarge()));
    try {
      await git.run({
        args: [
          ...networkOptions,
          `--git-dir=${target}`,
          'fetch',
          '--quiet',
          '--force',
          '--update-head-ok',
          '--no-write-fetch-head',
          '--no-recurse-submodules',
          '--no-auto-maintenance',
          ...args,
        ],
        protocol: url.protocol,
        timeoutSeconds: limits.fetchSeconds,
        signal: AbortSignal.any([signal, size.signal]),
      });
    } catch (err) {
      await removeUnfinishedPacks(target);
      if (size.signal.aborted) throw size.signal.reason;
      throw err;
    } finally {
      commits.clear();
      watch[Symbol.dispose]();
    }
  }

  function watchSize(target: string, onTooLarge: () => void): Disposable {
    let measuring = false;
    const timer = setInterval(() => {
      if (measuring) return;
      measuring = true;
      directorySize(target)
        // A directory that cannot be measured cannot be bounded either.
        .then((bytes) => bytes > limits.maxMirrorBytes && onTooLarge(), onTooLarge)
        .finally(() => {
          measuring = false;
        });
    }, sizeCheckSeconds * 1000);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  function tooLarge(): MirrorTooLargeError {
    const mebibytes = Math.floor(limits.maxMirrorBytes / 1024 ** 2);
    return new MirrorTooLargeError(
      `the repository is larger than the limit of ${mebibytes > 0 ? `${mebibytes} MiB` : `${limits.maxMirrorBytes} bytes`} for a mirror`,
    );
  }

  async function sourceAddress(): Promise<string> {
    return url.protocol === 'file' ? checkLocalSource(url.address, dataDirectory) : url.address;
  }

  async function remoteHead(target: string, address: string, signal: AbortSignal) {
    const listed = await git.run({
      args: [...networkOptions, `--git-dir=${target}`, 'ls-remote', '--symref', '--', address, 'HEAD'],
      protocol: url.protocol,
      timeoutSeconds: limits.fetchSeconds,
      signal,
    });
    return {
      branch: /^ref: refs\/heads\/(.+)\tHEAD$/m.exec(listed)?.[1] ?? null,
      commit: /^([0-9a-f]{40})\tHEAD$/m.exec(listed)?.[1] ?? null,
    };
  }

  async function commitOf(target: string, revision: string): Promise<string | undefined> {
    try {
      const printed = await git.run({
        args: [
          `--git-dir=${target}`,
          'rev-parse',
          '--verify',
          '--quiet',
          '--end-of-options',
          `${revision}^{commit}`,
        ],
        timeoutSeconds: limits.commandSeconds,
      });
      return printed.trim();
    } catch (err) {
      // 1: no such thing here. Anything else is a broken mirror or machine.
      if (err instanceof GitError && err.exitCode === 1) return undefined;
      throw err;
    }
  }

  function jobRef(commit: string): string {
    return `${jobRefs}/${now().toISOString().slice(0, 7)}/${commit}`;
  }

  async function dropOldJobRefs(): Promise<void> {
    const oldest = now();
    oldest.setUTCDate(1);
    oldest.setUTCMonth(oldest.getUTCMonth() - limits.keepJobCommitsMonths);
    const oldestMonth = oldest.toISOString().slice(0, 7);
    const refs = (await read(['for-each-ref', '--format=%(refname)', jobRefs])).split('\n');
    const deletions = refs.filter((ref) => ref !== '' && (ref.split('/')[3] ?? '') < oldestMonth);
    if (deletions.length > 0) {
      await read(['update-ref', '--stdin'], deletions.map((ref) => `delete ${ref}\n`).join(''));
    }
  }

  return {
    directory,
    exists,
    fetch,
    fetchObject,
    findCommit: (revision) =>
      commits.get(revision, () => commitOf(directory, revision === 'HEAD' ? headRef : revision)),
    async missingObjects(ids) {
      const printed = await read(['cat-file', '--batch-check=%(objectname)'], `${ids.join('\n')}\n`);
      const missing = printed.split('\n').filter((line) => line.endsWith(' missing'));
      return missing.map((line) => line.slice(0, 40));
    },
    async keepCommit(commit) {
      const ref = jobRef(commit);
      await keptRefs.get(ref, async () => {
        await read(['update-ref', ref, commit]);
        return true;
      });
    },
    async maintain(signal) {
      const packs = (await readdir(join(directory, 'objects', 'pack'))).filter((name) =>
        name.endsWith('.pack'),
      );
      if (packs.length <= limits.maxPacks) return;
      await dropOldJobRefs();
      // The two weeks keep what running clones read and what a fetch has brought but not yet named.
      await git.run({
        args: [`--git-dir=${directory}`, 'gc', '--quiet', '--prune=2.weeks.ago'],
        timeoutSeconds: limits.fetchSeconds,
        signal,
      });
    },
  };
}

/**
 * A killed `index-pack` leaves what it has received so far, which nothing will ever use. (A repack at the same time
 * loses its temporary pack too, fails, and is tried again after the next fetch.)
 */
async function removeUnfinishedPacks(target: string): Promise<void> {
  const packs = join(target, 'objects', 'pack');
  const names = await readdir(packs).catch(() => []);
  for (const name of names) {
    if (name.startsWith('tmp_')) await rm(join(packs, name), { force: true });
  }
}
