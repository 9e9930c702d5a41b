import { guestPaths } from './bundle.ts';

/** What a step used, as the guest's kernel tells it. Nothing in it is believed further than that it is a number. */
export interface GuestUsage {
  cpuSeconds?: number;
  peakMemoryBytes?: number;
  /** In use on the workspace's and the scratch drive together. */
  diskBytes?: number;
  /** Processes that were killed for memory. */
  outOfMemory: boolean;
  /** The drive on which no more can be written. */
  fullDrive?: 'workspace' | 'scratch';
}

/** With less than this for ordinary use, a drive counts as full. What the file system keeps back for itself is free, but not for use. */
const fullBytes = 256 * 1024;

/** Prints what {@link parseGuestUsage} reads. `$1`: the step's control group. */
export const usageScript = `
grep . "$1/cpu.stat" "$1/memory.peak" "$1/memory.events" || true
stat -f -c 'drive %n %S %b %f %a' /work /run/scratch || true
`;

export function parseGuestUsage(text: string): GuestUsage {
  const number = (pattern: RegExp): number | undefined => {
    const value = Number(pattern.exec(text)?.[1]);
    return Number.isSafeInteger(value) ? value : undefined;
  };
  const microseconds = number(/\/cpu\.stat:usage_usec (\d+)$/m);
  const peak = number(/\/memory\.peak:(\d+)$/m);
  const work = driveUse(text, guestPaths.workspace);
  const scratch = driveUse(text, guestPaths.scratch);
  const full =
    work && work.free < fullBytes ? 'workspace' : scratch && scratch.free < fullBytes ? 'scratch' : undefined;
  return {
    ...(microseconds === undefined ? {} : { cpuSeconds: microseconds / 1e6 }),
    ...(peak === undefined ? {} : { peakMemoryBytes: peak }),
    ...(work && scratch ? { diskBytes: work.used + scratch.used } : {}),
    outOfMemory: (number(/\/memory\.events:oom_kill (\d+)$/m) ?? 0) > 0,
    ...(full === undefined ? {} : { fullDrive: full }),
  };
}

function driveUse(text: string, mountPoint: string): { used: number; free: number } | undefined {
  const figures = new RegExp(`^drive ${mountPoint} (\\d+) (\\d+) (\\d+) (\\d+)$`, 'm').exec(text) ?? [];
  const [, size, blocks, free, available] = figures.map(Number);
  const [used, left] = [(Number(blocks) - Number(free)) * Number(size), Number(available) * Number(size)];
  return Number.isSafeInteger(used) && Number.isSafeInteger(left) ? { used, free: left } : undefined;
}
