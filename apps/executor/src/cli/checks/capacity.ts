import { statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { formatByteSize } from '@kiln/protocol';
import type { Settings } from '../../env/index.ts';
import { type Check, error, ok, warning } from './check.ts';

/** What the machine has. Sizes in bytes. */
export interface Capacity {
  cpus: number;
  memoryBytes: number;
  freeDiskBytes: number;
  /** For messages: where the disk was measured. */
  diskDirectory: string;
}

export type JobSizes = Pick<
  Settings,
  'maximumNumJobs' | 'jobNumCpus' | 'jobMemoryBytes' | 'diskSpaceBytes' | 'minFreeDiskBytes'
>;

/** Whether this machine can hold as many jobs at once, each as large, as the settings allow. */
export async function checkCapacity(settings: Settings): Promise<Check[]> {
  const diskDirectory = settings.useFirecracker ? settings.dataDirectory : settings.temporaryDirectory;
  return judgeCapacity(settings, {
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    freeDiskBytes: await freeBytes(diskDirectory),
    diskDirectory,
  });
}

export function judgeCapacity(sizes: JobSizes, machine: Capacity): Check[] {
  return [cpuCheck(sizes, machine), memoryCheck(sizes, machine), diskCheck(sizes, machine)];
}

function cpuCheck({ maximumNumJobs: jobs, jobNumCpus: each }: JobSizes, { cpus }: Capacity): Check {
  const asked = each === 0 ? 'all' : each;
  if (each > cpus)
    return warning(
      'cpus',
      `a job may have ${each} CPUs and this machine has ${cpus}, so it gets those`,
      `Set EXECUTOR_JOB_NUM_CPUS=${cpus}, or use a larger machine.`,
    );
  if (jobs * each > cpus)
    return warning(
      'cpus',
      `${jobs} jobs of ${each} CPUs share the ${cpus} of this machine`,
      'Lower EXECUTOR_MAXIMUM_NUM_JOBS or EXECUTOR_JOB_NUM_CPUS, or use a larger machine.',
    );
  return ok('cpus', `${cpus}, for ${jobsOf(jobs)} of ${asked}`);
}

function memoryCheck(
  { maximumNumJobs: jobs, jobMemoryBytes: each }: JobSizes,
  { memoryBytes }: Capacity,
): Check {
  const has = `this machine has ${formatByteSize(memoryBytes)}`;
  if (each > memoryBytes)
    return error(
      'memory',
      `a job may use ${formatByteSize(each)} of memory and ${has}`,
      'Lower EXECUTOR_JOB_MEMORY, or use a larger machine.',
    );
  if (jobs * each > memoryBytes)
    return warning(
      'memory',
      `${jobs} jobs of ${formatByteSize(each)} may use ${formatByteSize(jobs * each)} of memory together and ${has}: the machine may end processes of any of them`,
      'Lower EXECUTOR_MAXIMUM_NUM_JOBS or EXECUTOR_JOB_MEMORY, or use a larger machine.',
    );
  const asked = each === 0 ? 'all' : formatByteSize(each);
  return ok('memory', `${formatByteSize(memoryBytes)}, for ${jobsOf(jobs)} of ${asked}`);
}

function diskCheck(
  { maximumNumJobs: jobs, diskSpaceBytes: each, minFreeDiskBytes: reserve }: JobSizes,
  { freeDiskBytes, diskDirectory }: Capacity,
): Check {
  const has = `${formatByteSize(freeDiskBytes)} are free below ${diskDirectory}`;
  if (freeDiskBytes < reserve)
    return error(
      'disk',
      `${has}, less than the ${formatByteSize(reserve)} that must stay free (EXECUTOR_MIN_FREE_DISK): no job would be taken`,
      'Free some, or move EXECUTOR_DATA_DIR and TMPDIR to a larger disk.',
    );
  if (jobs * each + reserve > freeDiskBytes)
    return warning(
      'disk',
      `${jobsOf(jobs)} of ${formatByteSize(each)} may fill more than there is: ${has}, and ${formatByteSize(reserve)} of them stay free`,
      'Lower EXECUTOR_MAXIMUM_NUM_JOBS or EXECUTOR_FIRECRACKER_DISK_SPACE, or use a larger disk.',
    );
  return ok('disk', `${has}, for ${jobsOf(jobs)} of ${formatByteSize(each)}`);
}

function jobsOf(count: number): string {
  return count === 1 ? '1 job' : `${count} jobs`;
}

/** Of the nearest parent that exists: the directory may be made only when it is needed. */
async function freeBytes(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch (cause) {
    const parent = dirname(directory);
    if (Reflect.get(Object(cause), 'code') !== 'ENOENT' || parent === directory) throw cause;
    return freeBytes(parent);
  }
}
