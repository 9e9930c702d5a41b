import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Reads a file that hostile steps may have made. Each component of the path is opened in its turn, relative to the one before and
 * without following links, so nothing outside the workspace can be read, even while processes change the tree.
 * @param path below the workspace, with `/`
 * @returns undefined when it is missing, a link, no regular file, or larger than `maxBytes`
 */
export async function readWorkspaceFile(
  workspaceDirectory: string,
  path: string,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const components = path.split('/').filter((component) => component !== '' && component !== '.');
  const name = components.pop();
  if (name === undefined || name === '..' || components.includes('..') || path.includes('\0'))
    return undefined;
  let directory = await openOptional(workspaceDirectory, constants.O_DIRECTORY);
  try {
    for (const component of components) {
      if (!directory) return undefined;
      const next: FileHandle | undefined = await openOptional(
        `/proc/self/fd/${directory.fd}/${component}`,
        constants.O_DIRECTORY | constants.O_NOFOLLOW,
      );
      await directory.close();
      directory = next;
    }
    if (!directory) return undefined;
    // O_NONBLOCK: opening a named pipe must not wait for a writer.
    await using file = await openOptional(
      `/proc/self/fd/${directory.fd}/${name}`,
      constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    return file && (await readBounded(file, maxBytes));
  } finally {
    await directory?.close();
  }
}

/**
 * Removes a file or link directly in the workspace.
 * @returns whether there was anything of that name
 */
export async function removeWorkspaceFile(workspaceDirectory: string, name: string): Promise<boolean> {
  if (name.includes('/') || name === '..') throw new RangeError(`${JSON.stringify(name)} is not a file name`);
  try {
    await unlink(join(workspaceDirectory, name));
    return true;
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    if (code === 'ENOENT') return false;
    if (code === 'EISDIR' || code === 'EPERM') return true;
    throw error;
  }
}

async function readBounded(file: FileHandle, maxBytes: number): Promise<Uint8Array | undefined> {
  const status = await file.stat();
  if (!status.isFile() || status.size > maxBytes) return undefined;
  const bytes = Buffer.alloc(status.size);
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

async function openOptional(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | flags);
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EACCES', 'ENAMETOOLONG'].includes(String(code)))
      return undefined;
    throw error;
  }
}
