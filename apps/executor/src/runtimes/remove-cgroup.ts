import { readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** An ended process leaves its group a moment later. */
const removalSeconds = 10;
const pollMilliseconds = 20;

/**
 * Removes a sandbox's own control group and the groups below it from every hierarchy; what is not there is fine. What still
 * runs in it is killed: a Docker daemon that died may have lost sight of its containers.
 * @param group path below each hierarchy's root
 * @param root mount point of the control group file systems
 * @throws Error `EBUSY` when its processes do not end
 */
export async function removeCgroup(group: string, root = '/sys/fs/cgroup'): Promise<void> {
  const hierarchies = await directories(root);
  await Promise.all(['', ...hierarchies].map((hierarchy) => removeTree(join(root, hierarchy, group))));
}

async function removeTree(path: string): Promise<void> {
  for (const child of await directories(path)) await removeTree(join(path, child));
  const begin = performance.now();
  for (;;) {
    try {
      await rmdir(path);
      return;
    } catch (error) {
      const code: unknown = Reflect.get(Object(error), 'code');
      // Not there in this hierarchy, or not ours to remove: the daemon's business then.
      if (['ENOENT', 'EACCES', 'EROFS', 'EPERM'].includes(String(code))) return;
      if (code !== 'EBUSY' || performance.now() - begin > removalSeconds * 1000) throw error;
    }
    await killAll(path);
    await wait(pollMilliseconds);
  }
}

async function killAll(path: string): Promise<void> {
  const processes = await readFile(join(path, 'cgroup.procs'), 'utf8').catch(() => '');
  for (const pid of processes
    .split('\n')
    .map(Number)
    .filter((number) => number > 1)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      const code: unknown = Reflect.get(Object(error), 'code');
      if (code !== 'ESRCH' && code !== 'EPERM') throw error;
    }
  }
}

async function directories(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch {
    return [];
  }
}
