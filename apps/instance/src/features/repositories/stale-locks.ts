import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Removes lock files of git processes that were killed with the machine or with an earlier instance process; git
 * itself never does, and every later fetch would fail on them. Only those older than `before`, the time from which on
 * locks are our own.
 */
export async function removeStaleLocks(mirror: string, before: Date): Promise<void> {
  const inRefs = await readdir(join(mirror, 'refs'), { recursive: true });
  const paths = [...(await readdir(mirror)), ...inRefs.map((path) => join('refs', path))];
  for (const path of paths.filter((name) => name.endsWith('.lock'))) {
    const found = await lstat(join(mirror, path)).catch((err: NodeJS.ErrnoException) => {
      if (err.code !== 'ENOENT') throw err;
    });
    if (found?.isFile() && found.mtime < before) await rm(join(mirror, path), { force: true });
  }
}
