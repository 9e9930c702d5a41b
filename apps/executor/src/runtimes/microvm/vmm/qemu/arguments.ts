import { type Drive, type DrivePlace, TooManyDrives, VmError, type VmSpec } from '../vmm.ts';

export const qemuProgram = 'qemu-system-x86_64';
/** File descriptor on which QEMU is spoken to; never reachable by a path. */
export const qmpDescriptor = 3;
/** File descriptor from which a saved machine is read: no path of it must be open to the VM's user. */
export const snapshotDescriptor = 4;
export const controlSocket = 'control.sock';
/** Slots of its bus: 32, of which bridge, chipset, serial ports, random numbers and network card have one each. */
const mostDrives = 27;
/** Emulation keeps translated code; its default of up to 1 GiB a VM would not fit a machine with many. */
export const translationCacheBytes = 256 * 1024 ** 2;

/**
 * The command line of one VM. Machine type `pc`: under software emulation `microvm` loses a timer tick at boot in
 * 10-60 % of starts and hangs; `pc` costs 0.2 s more and never did.
 * @throws TooManyDrives; VmError for what QEMU's own syntax cannot say
 */
export function qemuArguments(spec: VmSpec): string[] {
  const { accelerator, drives, network, snapshot } = spec;
  if (drives.length > mostDrives)
    throw new TooManyDrives(
      `QEMU takes ${mostDrives} drives and this job needs ${drives.length}, one for each image: use fewer images`,
    );
  return [
    ...['-name', spec.name],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'pc,usb=off,vmport=off,dump-guest-core=off', '-rtc', 'base=utc'],
    ...(accelerator === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', `tcg,thread=multi,tb-size=${translationCacheBytes / 1024 ** 2}`, '-cpu', 'max']),
    ...['-smp', String(spec.cpus), '-m', `${Math.ceil(spec.memoryBytes / 1024 ** 2)}M`],
    // elevateprivileges, spawn: a guest that took over QEMU starts no programs and gains no rights.
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-kernel', spec.kernelFile, '-initrd', spec.initrdFile],
    ...['-append', spec.kernelArguments.join(' ')],
    ...['-chardev', 'stdio,id=console,signal=off', '-device', 'isa-serial,chardev=console'],
    ...['-chardev', `socket,id=qmp,fd=${qmpDescriptor}`, '-mon', 'chardev=qmp,mode=control'],
    ...['-device', 'virtio-serial-pci,id=serial0'],
    ...['-chardev', `socket,id=control,path=${controlSocket},server=on,wait=off`],
    ...['-device', 'virtserialport,bus=serial0.0,chardev=control,name=kiln.control'],
    ...['-object', 'rng-random,id=rng0,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng0'],
    ...placesAtStart(spec).flatMap((drive) => [
      ...['-blockdev', JSON.stringify(blockDevice(drive))],
      ...['-device', JSON.stringify(diskDevice(drive))],
    ]),
    ...(network === undefined
      ? []
      : [
          ...['-netdev', `tap,id=net0,ifname=${plain(network.tap)},script=no,downscript=no`],
          ...['-device', `virtio-net-pci,netdev=net0,mac=${plain(network.mac)},romfile=`],
        ]),
    ...(snapshot === undefined ? [] : ['-incoming', `fd:${snapshotDescriptor}`]),
  ];
}

/** A saved machine goes on with as many drives as it had, in the same places. */
function placesAtStart({ drives, emptyPlaces = [], snapshot }: VmSpec): readonly (Drive | DrivePlace)[] {
  if (snapshot === undefined) return [...drives, ...emptyPlaces];
  return snapshot.places.map((place) => drives.find(({ serial }) => serial === place.serial) ?? place);
}

/** Also what `blockdev-add` takes. Nothing on a drive outlives the VM, so it is never flushed to the disk. */
export function blockDevice(drive: Drive | DrivePlace) {
  return {
    ...('file' in drive ? imageFile(drive) : nothing),
    'node-name': `node-${plain(drive.serial)}`,
    'read-only': drive.readOnly,
    cache: { 'no-flush': true },
    discard: 'unmap',
  };
}

/** As large as no drive is: the guest keeps this size for what comes in its place, whose file system knows its own. */
const nothing = { driver: 'null-co', size: 2 ** 43 };

function imageFile({ file, readOnly }: Drive) {
  return {
    driver: 'raw',
    file: {
      driver: 'file',
      filename: file,
      'read-only': readOnly,
      // A shared image has many readers, and no writer any more.
      ...(readOnly ? { locking: 'off' } : {}),
    },
  };
}

/** Also what `device_add` takes. */
export function diskDevice(drive: DrivePlace) {
  const serial = plain(drive.serial);
  return { driver: 'virtio-blk-pci', drive: `node-${serial}`, serial, id: `disk-${serial}` };
}

/** QEMU splits its options at commas and `=`. */
function plain(text: string): string {
  if (!/^[A-Za-z0-9_.:-]{1,20}$/.test(text))
    throw new VmError(`${JSON.stringify(text)} cannot name a device of a VM`);
  return text;
}
