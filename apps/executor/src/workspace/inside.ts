import { constants } from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** A path of the job that would leave its workspace, or that goes through something that is no plain directory or file. */
export class UnsafePathError extends Error {
  override readonly name = 'UnsafePathError';
}

/**
 * Splits a path of a job into the names below the workspace. `.` and empty names are dropped (`./a//b` is `a/b`).
 * @throws UnsafePathError when it is absolute, has a `..`, or holds what no file name can
 */
export function pathComponents(path: string): string[] {
  const shown = JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}...` : path);
  if (path.startsWith('/'))
    throw new UnsafePathError(`the path ${shown} is absolute; it must be below the workspace`);
  if (path.includes('\0')) throw new UnsafePathError(`the path ${shown} holds a zero byte`);
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..'))
    throw new UnsafePathError(`the path ${shown} has ".." in it; it must stay below the workspace`);
  if (names.some((name) => Buffer.byteLength(name) > 255))
    throw new UnsafePathError(`the path ${shown} has a name longer than 255 bytes`);
  return names;
}

/**
 * Makes the directory `names` below `root` and returns its path. Every name on the way must be a real directory or is
 * made: a repository may hold links that lead out of the workspace. Nothing of the job runs yet when this is used, so
 * what was looked at is still the same when it is entered.
 * @throws UnsafePathError
 */
export async function makeDirectoryInside(root: string, names: readonly string[]): Promise<string> {
  let path = root;
  for (const name of names) {
    path = join(path, name);
    const found = await lstat(path).catch(missing);
    if (found === undefined) {
      await mkdir(path);
      // Steps run as whatever user their image says.
      await chmod(path, 0o777);
    } else if (!found.isDirectory()) {
      const what = found.isSymbolicLink() ? 'a link' : 'no directory';
      throw new UnsafePathError(`${JSON.stringify(path.slice(root.length + 1))} is ${what}`);
    }
  }
  return path;
}

/**
 * Creates a file below `root`, replacing a file or a link that stands in its place (the link itself, never its target).
 * @throws UnsafePathError
 */
export async function createFileInside(root: string, path: string): Promise<FileHandle> {
  const names = pathComponents(path);
  const name = names.pop();
  if (name === undefined)
    throw new UnsafePathError(`${JSON.stringify(path)} names the workspace itself, not a file`);
  const full = join(await makeDirectoryInside(root, names), name);
  const found = await lstat(full).catch(missing);
  if (found?.isDirectory()) throw new UnsafePathError(`${JSON.stringify(path)} is a directory`);
  if (found !== undefined) await unlink(full);
  return open(full, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o777);
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}
