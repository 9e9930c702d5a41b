import { type Drive, TooManyDrives, VmError } from '../vmm.ts';

/**
 * Interrupts of its bus bound the devices of a VM: what is left beside network card, vsock, random numbers and Firecracker's own
 * devices, with some to spare.
 */
const mostDrives = 12;
const mostSpares = 4;
/** What a spare drive holds until something is attached: a sector of zeros. */
export const spareFile = 'spare';
export const spareBytes = 512;

/**
 * Drives of one VM by their place. Firecracker cannot plug in drives, only put another file below one, so some are there in
 * advance. Nor can it give them serials of our choice: the guest is told their order instead, which is that of its devices.
 */
export interface DriveSlots {
  /** As they are given to Firecracker, in this order. */
  readonly initial: readonly Drive[];
  /** Value of the kernel argument by which the guest learns the order. */
  readonly order: string;
  /** Takes the next spare drive for another. @returns its id @throws VmError when none is left */
  take(drive: Drive): string;
  /** Id of a drive's place. @throws VmError when there is no such drive */
  idOf(serial: string): string;
  /** Name of a drive's device in the guest; undefined when there is no such drive. */
  deviceOf(serial: string): string | undefined;
}

/** @throws TooManyDrives */
export function driveSlots(drives: readonly Drive[]): DriveSlots {
  if (drives.length > mostDrives)
    throw new TooManyDrives(
      `Firecracker takes ${mostDrives} drives and this job needs ${drives.length}, one for each image: use fewer images, or an executor with EXECUTOR_VMM=qemu`,
    );
  const spares = Array.from(
    { length: Math.min(mostSpares, mostDrives - drives.length) },
    (_, index): Drive => ({
      serial: `spare${index}`,
      file: spareFile,
      readOnly: true,
    }),
  );
  const initial = [...drives, ...spares].map((drive) => ({ ...drive, serial: plain(drive.serial) }));
  /** By place; what is attached to a spare drive takes over its place. */
  const serials = initial.map(({ serial }) => serial);
  let taken = 0;

  function placeOf(serial: string): number | undefined {
    const place = serials.indexOf(serial);
    return place < 0 ? undefined : place;
  }

  return {
    initial,
    order: serials.join(','),
    take(drive) {
      const place = drives.length + taken;
      const spare = spares[taken];
      if (!drive.readOnly) throw new VmError('only drives to read can be attached to a VM of Firecracker');
      if (spare === undefined)
        throw new VmError(
          `no drive is left for another image: Firecracker takes ${mostDrives}; an executor with EXECUTOR_VMM=qemu takes more`,
        );
      taken += 1;
      serials[place] = plain(drive.serial);
      return spare.serial;
    },
    idOf(serial) {
      const place = placeOf(serial);
      const drive = place === undefined ? undefined : initial[place];
      if (drive === undefined) throw new VmError(`the VM has no drive ${serial}`);
      return drive.serial;
    },
    deviceOf(serial) {
      const place = placeOf(serial);
      return place === undefined ? undefined : `vd${String.fromCharCode('a'.charCodeAt(0) + place)}`;
    },
  };
}

/** Firecracker's ids, and a list in a kernel argument. */
function plain(serial: string): string {
  if (!/^[A-Za-z0-9_]{1,20}$/.test(serial))
    throw new VmError(`${JSON.stringify(serial)} cannot name a drive of a VM`);
  return serial;
}
