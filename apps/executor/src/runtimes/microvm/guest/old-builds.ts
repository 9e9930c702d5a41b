import { readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { directoryNames, fileNames } from './installed.ts';

export const buildingPrefix = '.building-';
// A VM that is about to start may just have been told the paths; QEMU has its files open a moment later.
const graceMs = 60 * 60 * 1000;

/** Of builds that were killed. Only for the holder of the lock: then every build in progress is a dead one's. */
export async function removeUnfinished(parent: string): Promise<void> {
  for (const name of await readdir(parent))
    if (name.startsWith(buildingPrefix)) await rm(path.join(parent, name), { recursive: true, force: true });
}

/** All but the one in use, the one before it (another version of Kiln may use it still) and what is fresh. */
export async function removeOldBuilds(parent: string, inUse: string): Promise<void> {
  const builds = await Promise.all(
    (await directoryNames(parent))
      .filter((name) => name !== inUse)
      .map(async (name) => ({
        name,
        builtMs: (await stat(path.join(parent, name, fileNames.manifest))).mtimeMs,
      })),
  );
  const old = builds.sort((a, b) => b.builtMs - a.builtMs).slice(1);
  for (const { name, builtMs } of old)
    if (Date.now() - builtMs > graceMs) await rm(path.join(parent, name), { recursive: true, force: true });
}
