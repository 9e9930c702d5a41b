import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { gitConfig } from './git-config.ts';
import type { Git } from './git-process.ts';
import { requireSafeGit } from './git-version.ts';
import { unfinishedPrefix } from './mirror.ts';

/** The directory of all mirrors. It belongs to one instance process, which locks its data directory. */
export interface MirrorsDirectory extends AsyncDisposable {
  readonly directory: string;
  /** Home of git processes, with nothing of a person's in it. */
  readonly home: string;
  readonly configFile: string;
  /** Creates what is missing, once; resolves to the version of git. @throws ApiError 503 when git cannot be used */
  prepare(git: Git): Promise<string>;
  remove(mirror: string): Promise<void>;
}

export interface MirrorsDirectoryOptions {
  directory: string;
  stallSeconds: number;
  log: Logger;
  /** Names of the mirrors that are of use; asked after looking which there are, so that a new one is never missed. */
  keep: () => Promise<ReadonlySet<string>>;
  /** Stops using a mirror that is to be removed. */
  release: (mirror: string) => Promise<void>;
}

const sweepHours = 6;
const removedPrefix = 'removed-';

export function createMirrorsDirectory(options: MirrorsDirectoryOptions): MirrorsDirectory {
  const { directory, log } = options;
  const home = join(directory, '.git-home');
  const configFile = join(home, 'gitconfig');
  let prepared: Promise<string> | undefined;
  let sweeping: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;

  async function prepare(git: Git): Promise<string> {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await writeFile(configFile, gitConfig({ stallSeconds: options.stallSeconds }), { mode: 0o600 });
    const version = await requireSafeGit(git);
    for (const name of await readdir(directory)) {
      // Of an earlier process: this one has begun nothing yet.
      if (name.startsWith(unfinishedPrefix) || name.startsWith(removedPrefix)) await removeTree(name);
    }
    sweep();
    timer ??= setInterval(sweep, sweepHours * 3_600_000).unref();
    return version;
  }

  /** Removes mirrors of repositories that another instance removed, or that a crash left. */
  function sweep(): void {
    sweeping ??= removeUnused()
      .catch((err: unknown) => log.warn({ err, directory }, 'could not look for mirrors that are not needed'))
      .finally(() => {
        sweeping = undefined;
      });
  }

  async function removeUnused(): Promise<void> {
    const found = (await readdir(directory)).filter((name) => /^\d+-[0-9a-f]{16}$/.test(name));
    const keep = await options.keep();
    for (const name of found.filter((mirror) => !keep.has(mirror))) {
      await options.release(name);
      await remove(name);
      log.info({ mirror: name }, 'removed the mirror of a repository that is gone');
    }
  }

  async function remove(mirror: string): Promise<void> {
    // Gone at once for everybody who looks, however long the deletion takes.
    const removed = removedPrefix + mirror;
    try {
      await rename(join(directory, mirror), join(directory, removed));
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw err;
    }
    await removeTree(removed);
  }

  async function removeTree(name: string): Promise<void> {
    await rm(join(directory, name), { recursive: true, force: true });
  }

  return {
    directory,
    home,
    configFile,
    prepare(git) {
      if (!prepared) {
        prepared = prepare(git);
        // The next call tries again: git may have been installed, the disk mounted.
        prepared.catch(() => {
          prepared = undefined;
        });
      }
      return prepared;
    },
    remove,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await prepared?.catch(() => undefined);
      clearInterval(timer);
      await sweeping;
    },
  };
}
