import { type Drive, VmError, type VmSpec } from '../vmm.ts';

export const qemuProgram = 'qemu-system-x86_64';
/** File descriptor on which QEMU is spoken to; never reachable by a path. */
export const qmpDescriptor = 3;
export const controlSocket = 'control.sock';
/** Emulation keeps translated code; its default of up to 1 GiB a VM would not fit a machine with many. */
export const translationCacheBytes = 256 * 1024 ** 2;

/**
 * The command line of one VM. Machine type `pc`: under software emulation `microvm` loses a timer tick at boot in
 * 10-60 % of starts and hangs; `pc` costs 0.2 s more and never did.
 * @throws VmError for what QEMU's own syntax cannot say
 */
export function qemuArguments(spec: VmSpec): string[] {
  const { accelerator, network } = spec;
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
    ...spec.drives.flatMap((drive) => [
      ...['-blockdev', JSON.stringify(blockDevice(drive))],
      ...['-device', JSON.stringify(diskDevice(drive))],
    ]),
    ...(network === undefined
      ? []
      : [
          ...['-netdev', `tap,id=net0,ifname=${plain(network.tap)},script=no,downscript=no`],
          ...['-device', `virtio-net-pci,netdev=net0,mac=${plain(network.mac)},romfile=`],
        ]),
  ];
}

/** Also what `blockdev-add` takes. Nothing on a drive outlives the VM, so it is never flushed to the disk. */
export function blockDevice(drive: Drive) {
  return {
    driver: 'raw',
    'node-name': `node-${plain(drive.serial)}`,
    'read-only': drive.readOnly,
    cache: { 'no-flush': true },
    discard: 'unmap',
    file: {
      driver: 'file',
      filename: drive.file,
      'read-only': drive.readOnly,
      // A shared image has many readers, and no writer any more.
      ...(drive.readOnly ? { locking: 'off' } : {}),
    },
  };
}

/** Also what `device_add` takes. */
export function diskDevice(drive: Drive) {
  const serial = plain(drive.serial);
  return { driver: 'virtio-blk-pci', drive: `node-${serial}`, serial, id: `disk-${serial}` };
}

/** QEMU splits its options at commas and `=`. */
function plain(text: string): string {
  if (!/^[A-Za-z0-9_.:-]{1,20}$/.test(text))
    throw new VmError(`${JSON.stringify(text)} cannot name a device of a VM`);
  return text;
}
