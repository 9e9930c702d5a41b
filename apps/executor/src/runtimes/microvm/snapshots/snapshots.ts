import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { untilAborted } from '../../until-aborted.ts';
import { emptyPlaces, type MachineShape, machineSpec } from '../machine.ts';
import { vmInterface } from '../network.ts';
import type { Snapshot, VmSpec } from '../vmm/index.ts';

/** States of guests that have just booted, from which VMs go on in a fraction of the time. */
export interface Snapshots extends AsyncDisposable {
  /**
   * For a VM of this shape; made first where there is none.
   * @returns undefined when none can be had: then VMs boot
   * @throws the signal's reason
   */
  of(shape: MachineShape, signal: AbortSignal): Promise<Snapshot | undefined>;
  /** Removes one that a VM could not go on from. This process makes and uses none any more. */
  refuse(snapshot: Snapshot, error: unknown): Promise<void>;
}

/** Each takes what a booted guest has in memory, some 100 MB. Jobs are mostly of one shape. */
const mostSnapshots = 3;
/** What VMs of one snapshot have in common, such as where their kernel lies in memory, lasts no longer. */
const longestMilliseconds = 24 * 60 * 60 * 1000;
const consequence = 'VMs boot, which takes longer, until this executor is started anew';

export interface SnapshotsOptions {
  /** Closed to others; made when it is missing. */
  directory: string;
  /** Makes one: when this resolves, there is a complete file at the path. */
  make(shape: MachineShape, path: string, signal: AbortSignal): Promise<void>;
  /** For what is wrong with the machine rather than with a job. */
  warn(message: string, error: unknown): void;
}

export function openSnapshots({ directory, make, warn }: SnapshotsOptions): Snapshots {
  /** By path; several VMs may wait for one. */
  const beingMade = new Map<string, Promise<boolean>>();
  const closing = new AbortController();
  let isRefused = false;

  /** @returns whether there is one now */
  async function tryMake(shape: MachineShape, path: string): Promise<boolean> {
    try {
      if (await isFresh(path)) return true;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await make(shape, path, closing.signal);
      await removeLeastUsed(directory);
      return true;
    } catch (error) {
      isRefused = true;
      if (!closing.signal.aborted) warn(`no snapshot of a guest can be made: ${consequence}`, error);
      return false;
    } finally {
      beingMade.delete(path);
    }
  }

  return {
    async of(shape, signal) {
      const spec = specOf(shape);
      const machine = isRefused ? undefined : await shape.vmm.machine?.(spec);
      if (machine === undefined) return undefined;
      const path = join(directory, await snapshotName(machine, shape));
      const made = beingMade.get(path) ?? tryMake(shape, path);
      beingMade.set(path, made);
      if (!(await untilAborted(made, signal))) return undefined;
      return { path, places: [...spec.drives, ...emptyPlaces] };
    },
    async refuse({ path }, error) {
      isRefused = true;
      warn(`a VM could not go on from a snapshot, which was removed: ${consequence}`, error);
      await rm(path, { force: true });
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await Promise.all(beingMade.values());
    },
  };
}

/**
 * Equal where what was saved fits: the same machine and files, since the same boot of this machine (its processor and VMM may be
 * others afterwards).
 */
async function snapshotName(machine: string, { guest }: MachineShape): Promise<string> {
  const { kernelPath, initrdPath, rootPath } = guest;
  const files = await Promise.all(
    [kernelPath, initrdPath, rootPath].map(async (path) => {
      const { dev, ino, size, mtimeMs } = await stat(path);
      return [dev, ino, size, mtimeMs].join(' ');
    }),
  );
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
  const all = [boot, machine, guest.digest, ...files].join('\n');
  return createHash('sha256').update(all).digest('hex').slice(0, 32);
}

function specOf(shape: MachineShape): VmSpec {
  const network = shape.hasNetwork ? vmInterface({ sandbox: '' }, 'unconnected') : undefined;
  return { ...machineSpec(shape, { name: 'any', directory: '', uid: 0 }), emptyPlaces, network };
}

/** One that is fresh is also remembered as used now. */
async function isFresh(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || Date.now() - found.mtimeMs > longestMilliseconds) return false;
  await utimes(path, new Date(), found.mtime);
  return true;
}

/** A VM that is about to go on from one of them boots instead. */
async function removeLeastUsed(directory: string): Promise<void> {
  const all = await Promise.all(
    (await readdir(directory)).map(async (name) => {
      const path = join(directory, name);
      // Another process may just have removed it.
      const found = await stat(path).catch(() => undefined);
      return { path, usedMs: found?.atimeMs ?? 0 };
    }),
  );
  const old = all.sort((a, b) => b.usedMs - a.usedMs).slice(mostSnapshots);
  for (const { path } of old) await rm(path, { force: true });
}
