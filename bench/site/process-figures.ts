import { readFile, writeFile } from 'node:fs/promises';

/** `USER_HZ`, the unit of processor times in /proc, is 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** Processor time that a process has used so far, in user and kernel mode. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name of the program stands in brackets and may hold spaces: fields count from the bracket's end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

export function residentBytes(pid: number): Promise<number> {
  return memoryFigure(pid, 'VmRSS');
}

/** The most that was resident since {@link resetPeak}, as the kernel keeps it: no sample in between can miss it. */
export function peakResidentBytes(pid: number): Promise<number> {
  return memoryFigure(pid, 'VmHWM');
}

export async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

async function memoryFigure(pid: number, name: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1];
  return Number(kibibytes ?? Number.NaN) * 1024;
}
