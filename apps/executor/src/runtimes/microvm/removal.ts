import { readFile, rm } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { removeWorkspaceDirectory as removeTree } from '../../workspace/index.ts';
import { processStart } from '../records/index.ts';
import { removeCgroup } from '../remove-cgroup.ts';
import { areVmNames, snapshotFile } from './names.ts';
import { removeNetwork } from './network.ts';
import type { VmRecord } from './records.ts';

const killSeconds = 20;
const pollMilliseconds = 20;

/**
 * Removes all that a VM has on this machine, from the process to the drives; what is gone already is fine.
 * @throws Error when something stays; called again it goes on with the rest
 */
export async function removeVm(record: VmRecord, vmsDirectory: string): Promise<void> {
  if (!areVmNames(record, vmsDirectory))
    throw new Error(`the record of VM ${record.sandbox} names what is not its own: remove it by hand`);
  if (record.process !== undefined) await killExactly(record.process);
  await removeNetwork(record, record.networkNamespace);
  await removeCgroup(record.cgroup);
  await rm(snapshotFile(record), { force: true });
  await removeTree(record.directory);
}

/** Whether the process of a record still is that process. One that only waits to be reaped by its parent has ended. */
export async function isRunning(vmm: { pid: number; startedAt: string }): Promise<boolean> {
  if ((await processStart(vmm.pid)) !== vmm.startedAt) return false;
  const stat = await readFile(`/proc/${vmm.pid}/stat`, 'utf8').catch(() => ') X');
  return !/[ZX]/.test(stat[stat.lastIndexOf(')') + 2] ?? '');
}

async function killExactly(vmm: { pid: number; startedAt: string }): Promise<void> {
  const begin = performance.now();
  while (await isRunning(vmm)) {
    try {
      process.kill(vmm.pid, 'SIGKILL');
    } catch (error) {
      if (Reflect.get(Object(error), 'code') !== 'ESRCH') throw error;
    }
    if (performance.now() - begin > killSeconds * 1000)
      throw new Error(`the VMM process ${vmm.pid} cannot be killed`);
    // No child of this process, so nobody tells of its end.
    await wait(pollMilliseconds);
  }
}
