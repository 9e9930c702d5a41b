import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface CgroupUsage {
  cpuSeconds?: number;
  peakMemoryBytes?: number;
}

/**
 * Reads what a control group and all below it used since it was made. The step's container runs in a child, so the figures outlast it: a container's
 * own group is gone by the time its exit is known.
 * @param group path below each hierarchy's root
 * @param root mount point of the control group file systems
 * @returns nothing where the hierarchies are not visible to this process
 */
export async function readCgroupUsage(group: string, root = '/sys/fs/cgroup'): Promise<CgroupUsage> {
  const [legacyCpu, legacyPeak, cpuStat, peak] = await Promise.all([
    readOptional(join(root, 'cpuacct', group, 'cpuacct.usage')),
    readOptional(join(root, 'memory', group, 'memory.max_usage_in_bytes')),
    readOptional(join(root, group, 'cpu.stat')),
    readOptional(join(root, group, 'memory.peak')),
  ]);
  const microseconds = /^usage_usec (\d+)$/m.exec(cpuStat ?? '')?.[1];
  const cpuSeconds =
    legacyCpu !== undefined
      ? Number(legacyCpu) / 1e9
      : microseconds !== undefined
        ? Number(microseconds) / 1e6
        : undefined;
  const peakText = legacyPeak ?? peak;
  return {
    ...(cpuSeconds === undefined ? {} : { cpuSeconds }),
    ...(peakText === undefined ? {} : { peakMemoryBytes: Number(peakText) }),
  };
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return undefined;
  }
}
