import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeCgroup } from '../remove-cgroup.ts';
import type { Finding } from '../runtime.ts';

export interface CgroupLimits {
  cpus: number;
  memoryBytes: number;
  processes: number;
}

const controllers = ['cpu', 'memory', 'pids'] as const;
const periodMicroseconds = 100_000;

const mount = '/sys/fs/cgroup';

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
  root = mount,
): Promise<boolean> {
  const directories = await makeCgroup(group, limits, root);
  for (const directory of directories) await writeFile(join(directory, 'cgroup.procs'), String(pid));
  return directories.length > 0;
}

/** Tries whether VMs can be confined here, and how. */
export async function cgroupFinding(root = mount): Promise<Finding> {
  const group = `/kiln-try-${randomBytes(6).toString('hex')}`;
  try {
    const directories = await makeCgroup(group, { cpus: 1, memoryBytes: 1024 ** 3, processes: 100 }, root);
    if (directories.length > 0) {
      const version = directories.length === 1 ? 'v2' : 'v1';
      return { check: 'cgroups', severity: 'ok', message: `VMs are confined by cgroup ${version}`, fix: '' };
    }
  } finally {
    await removeCgroup(group, root);
  }
  return {
    check: 'cgroups',
    severity: 'warning',
    message: `no control group can be made below ${root}, so nothing bounds what the VMM itself takes of memory, processors and processes; the limits of the guest hold`,
    fix: 'Mount cgroup v2 (or the v1 hierarchies cpu, memory and pids) there, and let the executor write to it.',
  };
}

/** @returns its directories, one for each hierarchy; none where there are no hierarchies that take it */
async function makeCgroup(group: string, limits: CgroupLimits, root: string): Promise<string[]> {
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
      return [directory];
    }
    for (const controller of controllers) await mkdir(join(root, controller, group));
    await writeFile(join(root, 'cpu', group, 'cpu.cfs_period_us'), String(periodMicroseconds));
    await writeFile(join(root, 'cpu', group, 'cpu.cfs_quota_us'), String(quota));
    await writeFile(join(root, 'memory', group, 'memory.limit_in_bytes'), String(limits.memoryBytes));
    await writeFile(join(root, 'pids', group, 'pids.max'), String(limits.processes));
    return controllers.map((controller) => join(root, controller, group));
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    if (['ENOENT', 'EACCES', 'EROFS', 'EPERM', 'ENOTSUP'].includes(String(code))) return [];
    throw error;
  }
}

async function isUnified(root: string): Promise<boolean> {
  const found = await stat(join(root, 'cgroup.controllers')).catch(() => undefined);
  if (!found) return false;
  const available = (await readFile(join(root, 'cgroup.controllers'), 'utf8')).trim().split(' ');
  return controllers.every((controller) => available.includes(controller));
}
