import { mkdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

export interface CgroupLimits {
  cpus: number;
  memoryBytes: number;
  processes: number;
}

const controllers = ['cpu', 'memory', 'pids'] as const;
const periodMicroseconds = 100_000;
/** An ended process leaves its group a moment later. */
const removalTries = 50;
const removalMilliseconds = 20;

/**
 * Puts a process into a control group of its own, which bounds what a VM may take of this machine even when it breaks out of its
 * emulation.
 * @param group below each hierarchy's root
 * @returns whether there are hierarchies here that take it; a machine without still has the VM's own limits
 */
export async function confine(
  pid: number,
  group: string,
  limits: CgroupLimits,
  root = '/sys/fs/cgroup',
): Promise<boolean> {
  const quota = Math.round(limits.cpus * periodMicroseconds);
  try {
    if (await isUnified(root)) {
      // Refused while systemd guards the root: then the controllers are on already.
      await writeFile(join(root, 'cgroup.subtree_control'), '+cpu +memory +pids').catch(() => undefined);
      const directory = join(root, group);
      await mkdir(directory);
      await writeFile(join(directory, 'cpu.max'), `${quota} ${periodMicroseconds}`);
      await writeFile(join(directory, 'memory.max'), String(limits.memoryBytes));
      await writeFile(join(directory, 'pids.max'), String(limits.processes));
      await writeFile(join(directory, 'cgroup.procs'), String(pid));
      return true;
    }
    for (const controller of controllers) await mkdir(join(root, controller, group));
    await writeFile(join(root, 'cpu', group, 'cpu.cfs_period_us'), String(periodMicroseconds));
    await writeFile(join(root, 'cpu', group, 'cpu.cfs_quota_us'), String(quota));
    await writeFile(join(root, 'memory', group, 'memory.limit_in_bytes'), String(limits.memoryBytes));
    await writeFile(join(root, 'pids', group, 'pids.max'), String(limits.processes));
    for (const controller of controllers)
      await writeFile(join(root, controller, group, 'cgroup.procs'), String(pid));
    return true;
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    if (['ENOENT', 'EACCES', 'EROFS', 'EPERM', 'ENOTSUP'].includes(String(code))) return false;
    throw error;
  }
}

/** Removes a group whose processes have ended from every hierarchy; what is not there is fine. */
export async function removeCgroup(group: string, root = '/sys/fs/cgroup'): Promise<void> {
  const directories = [join(root, group), ...controllers.map((controller) => join(root, controller, group))];
  await Promise.all(directories.map(remove));
}

async function remove(directory: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      const code: unknown = Reflect.get(Object(error), 'code');
      if (['ENOENT', 'EACCES', 'EROFS', 'EPERM'].includes(String(code))) return;
      if (code !== 'EBUSY' || attempt >= removalTries) throw error;
      await wait(removalMilliseconds);
    }
  }
}

async function isUnified(root: string): Promise<boolean> {
  const found = await stat(join(root, 'cgroup.controllers')).catch(() => undefined);
  if (!found) return false;
  const available = (await readFile(join(root, 'cgroup.controllers'), 'utf8')).trim().split(' ');
  return controllers.every((controller) => available.includes(controller));
}
