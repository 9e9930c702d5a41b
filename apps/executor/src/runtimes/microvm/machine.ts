import { join } from 'node:path';
import { shareFile } from './drives/index.ts';
import type { Guest } from './guest/index.ts';
import type { VmNames } from './names.ts';
import type { Accelerator, Drive, DrivePlace, Vmm, VmSpec } from './vmm/index.ts';

/** What makes the machines of two VMs alike. */
export interface MachineShape {
  vmm: Vmm;
  guest: Guest;
  accelerator: Accelerator;
  cpus: number;
  memoryBytes: number;
  hasNetwork: boolean;
}

const files = { kernel: 'kernel', initrd: 'initrd', root: 'root.squashfs' };
const root: Drive = { serial: 'root', file: files.root, readOnly: true };

/** For what jobs have first: the guest takes some tenths of a second for each drive that is plugged in later. */
export const emptyPlaces: readonly DrivePlace[] = [
  { serial: 'work', readOnly: false },
  { serial: 'scratch', readOnly: false },
  { serial: 'image0', readOnly: true },
];

/** The guest's files in the VM's directory, as {@link machineSpec} names them. */
export async function shareGuest(
  { kernelPath, initrdPath, rootPath }: Guest,
  directory: string,
): Promise<void> {
  await Promise.all([
    shareFile(kernelPath, join(directory, files.kernel)),
    shareFile(initrdPath, join(directory, files.initrd)),
    shareFile(rootPath, join(directory, files.root)),
  ]);
}

/** A machine with nothing of a job yet. */
export function machineSpec(
  { guest, accelerator, cpus, memoryBytes }: MachineShape,
  names: Pick<VmNames, 'name' | 'directory' | 'uid'>,
): Omit<VmSpec, 'network'> {
  return {
    name: names.name,
    directory: names.directory,
    uid: names.uid,
    accelerator,
    cpus,
    memoryBytes,
    kernelFile: files.kernel,
    initrdFile: files.initrd,
    kernelArguments: guest.kernelArguments,
    drives: [root],
  };
}
