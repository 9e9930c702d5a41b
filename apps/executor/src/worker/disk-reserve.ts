import { mkdir, statfs } from 'node:fs/promises';

/**
 * Free bytes of the file system that holds `directory`, as far as this user may use them. The directory is made again
 * when it is missing: the system may clean its temporary files while an executor is idle.
 */
export async function freeDiskBytes(directory: string): Promise<number> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}
