import type { Stats } from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';

/** A local directory cannot be used as a repository's source; the message says why. */
export class LocalSourceError extends Error {
  override readonly name = 'LocalSourceError';
}

const maxBorrowDepth = 5;

/**
 * Checks a local path before git reads it, at each fetch, and resolves to the directory that git is to be given.
 *
 * A repository may use the objects of another one: as a worktree, by `objects/info/alternates`, by a link. git
 * follows that with the rights of the instance, so whoever owns the registered directory could have the instance read
 * somebody else's repository. Hence what is borrowed must belong to the same owner, who could have copied it anyway
 * (or the borrower to root). `forbidden`: the instance's own data directory.
 * @throws LocalSourceError
 */
export async function checkLocalSource(path: string, forbidden: string): Promise<string> {
  const real = await realpath(path).catch(() => undefined);
  const source = real === undefined ? undefined : await statOf(real);
  if (real === undefined || !source) {
    throw new LocalSourceError(`there is no directory ${path} on the machine of the instance`);
  }
  if (!source.isDirectory()) throw new LocalSourceError(`${path} is not a directory`);
  if (isInside(real, await realpath(forbidden))) {
    throw new LocalSourceError(`${path} is inside the instance's own data directory`);
  }
  const gitDirectory = await findGitDirectory(real);
  if (gitDirectory === undefined) throw new LocalSourceError(`${path} is not a git repository`);
  if (source.uid !== 0) await checkBorrowing(gitDirectory, source.uid, path);
  return gitDirectory;
}

/** A bare repository, a work tree with `.git` as directory, or one with `.git` as file (worktree, submodule). */
async function findGitDirectory(path: string): Promise<string | undefined> {
  const inner = join(path, '.git');
  const innerStat = await statOf(inner);
  if (innerStat?.isFile()) {
    const target = /^gitdir: (.+)$/m.exec(await readSmallFile(inner, innerStat))?.[1];
    return target === undefined ? undefined : resolve(path, target);
  }
  for (const candidate of [inner, path]) {
    const isRepository =
      (await statOf(join(candidate, 'HEAD'))) && (await statOf(join(candidate, 'objects')));
    if (isRepository) return candidate;
  }
  return undefined;
}

async function checkBorrowing(gitDirectory: string, owner: number, path: string): Promise<void> {
  const directories = [gitDirectory];
  const commonFile = join(gitDirectory, 'commondir');
  const commonStat = await statOf(commonFile);
  let common = gitDirectory;
  if (commonStat) {
    common = resolve(gitDirectory, (await readSmallFile(commonFile, commonStat)).trim());
    directories.push(common);
  }
  for (const directory of directories) await checkOwner(directory, owner, path);
  await checkObjects(join(common, 'objects'), owner, path, 0);
}

async function checkObjects(objects: string, owner: number, path: string, depth: number): Promise<void> {
  if (depth > maxBorrowDepth) {
    throw new LocalSourceError(`${path} borrows from repositories more than ${maxBorrowDepth} levels deep`);
  }
  await checkOwner(objects, owner, path);
  await checkOwner(join(objects, 'pack'), owner, path);
  const alternates = join(objects, 'info', 'alternates');
  const alternatesStat = await statOf(alternates);
  if (!alternatesStat) return;
  for (const line of (await readSmallFile(alternates, alternatesStat)).split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    // git also reads a quoted form; nobody writes it by hand, so it is refused as a name that does not exist.
    await checkObjects(isAbsolute(line) ? line : resolve(objects, line), owner, path, depth + 1);
  }
}

async function checkOwner(directory: string, owner: number, path: string): Promise<void> {
  const found = await statOf(directory);
  if (found?.uid === owner) return;
  if (!found && directory.endsWith('/pack')) return;
  throw new LocalSourceError(
    `${path} uses ${directory}, which ${found ? 'belongs to another user' : 'does not exist'}; register a repository that holds all its objects itself (git clone --no-local)`,
  );
}

function isInside(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === '' || (way.split('/')[0] !== '..' && !isAbsolute(way));
}

async function readSmallFile(path: string, found: Stats): Promise<string> {
  if (!found.isFile() || found.size > 64 * 1024) throw new LocalSourceError(`${path} is not a small file`);
  return readFile(path, 'utf8');
}

async function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT' || err.code === 'ENOTDIR') return undefined;
    throw new LocalSourceError(`${path} cannot be read: ${err.code ?? err.message}`);
  });
}
