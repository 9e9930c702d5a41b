import { chmod, chown, mkdir, rename } from 'node:fs/promises';
import { defaultMaxProcesses } from '../../step/index.ts';
import { untilAborted } from '../../until-aborted.ts';
import { guestsOwn } from '../attached-images.ts';
import { bootVm } from '../boot.ts';
import type { GuestChannel } from '../channel/index.ts';
import { prepareGuest, setUpGuest } from '../guest-setup.ts';
import { emptyPlaces, type MachineShape, machineSpec, shareGuest } from '../machine.ts';
import { snapshotFile, type VmNames } from '../names.ts';
import { guestPaths } from '../steps/bundle.ts';
import { runStep } from '../steps/run-step.ts';
import { VmError } from '../vmm/index.ts';

export interface SnapshotSurroundings {
  /** Of a VM of its own, which has never been any job's and is removed again. */
  names: VmNames;
  record(pid: number): Promise<void>;
  remove(): Promise<void>;
}

/**
 * Boots a VM that has nothing of any job, gets it ready for one, and keeps its state.
 * @param path of the file, which is complete when it is there
 * @throws SandboxError, VmError, GuestError; the signal's reason
 */
export async function makeSnapshot(
  { names, record, remove }: SnapshotSurroundings,
  shape: MachineShape,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await mkdir(names.directory, { recursive: true, mode: 0o700 });
    await shareGuest(shape.guest, names.directory);
    await chmod(names.directory, 0o700);
    await chown(names.directory, names.uid, names.uid);
    const { vm, channel } = await bootVm(
      {
        vmm: shape.vmm,
        names,
        spec: { ...machineSpec(shape, names), emptyPlaces },
        network: shape.hasNetwork ? 'unconnected' : undefined,
        survive: false,
        record,
        notice: () => undefined,
      },
      signal,
    );
    try {
      await prepareGuest(channel, signal);
      await setUpGuest(channel, nobodys, () => undefined, signal);
      await runFirstStep(channel, names.directory, signal);
    } finally {
      await channel[Symbol.asyncDispose]();
    }
    if (vm.save === undefined) throw new VmError(`VMs of ${shape.vmm.name} cannot be saved`);
    await untilAborted(vm.save(snapshotFile(names)), signal);
    await rename(snapshotFile(names), path);
  } finally {
    await remove();
  }
}

const nobodys = { network: undefined, addHostGateway: false, startupScriptPath: undefined };

/** A step that does nothing leaves in the guest's memory what every step needs from its drives. */
async function runFirstStep(channel: GuestChannel, directory: string, signal: AbortSignal): Promise<void> {
  const script = 'first.sh';
  await channel.writeFile(`${guestPaths.workspace}/${script}`, new Uint8Array());
  const removals: Promise<void>[] = [];
  const { exitCode } = await runStep(
    {
      channel,
      job: { limits: { numCPUs: 0, memoryBytes: 0, diskBytes: 0 }, notice: () => undefined },
      number: 0,
      image: guestsOwn,
      maxProcesses: defaultMaxProcesses,
      drivesDirectory: directory,
      minFreeDiskBytes: 0,
      later: (work) => removals.push(work),
    },
    { name: 'first', image: '', scriptPath: script, dir: '', env: [] },
    { write: async () => undefined },
    signal,
  );
  await Promise.all(removals);
  if (exitCode !== 0) throw new Error(`a step that does nothing ended with exit code ${exitCode}`);
}
