import type { VmSpec } from '../vmm.ts';
import type { ApiRequest } from './api.ts';
import type { DriveSlots } from './drive-slots.ts';

/** Names in the jail. */
export const jailFiles = { api: 'api.sock', control: 'control.sock' } as const;
/** Where the guest's agent listens, as in guest/files/init.pl. */
export const agentPort = 5005;

/** 0 to 2 are the hypervisor's and the host's; it is the same for all: each Firecracker has a vsock of its own. */
const guestCid = 3;
const mostCpus = 32;
const refillMilliseconds = 100;
/** A guest gets its randomness from the processor; this is for the beginning, and no way to use up the machine's. */
const entropyBytesPerSecond = 256 * 1024;
/** A guest may turn the serial port on again. */
const serialBytesPerSecond = 64 * 1024;

export interface Abilities {
  /** Since 1.16: what a guest writes to its serial port can be bounded. */
  limitsSerial: boolean;
}

/** All that Firecracker is told before and at the start of a VM, in this order. */
export function bootRequests(spec: VmSpec, slots: DriveSlots, abilities: Abilities): ApiRequest[] {
  const { network } = spec;
  return [
    put('/machine-config', {
      vcpu_count: vcpuCount(spec.cpus),
      mem_size_mib: Math.ceil(spec.memoryBytes / 1024 ** 2),
      smt: false,
      track_dirty_pages: false,
    }),
    put('/boot-source', {
      kernel_image_path: inJail(spec.kernelFile),
      initrd_path: inJail(spec.initrdFile),
      boot_args: kernelArguments(spec.kernelArguments, slots).join(' '),
    }),
    ...slots.initial.map(({ serial, file, readOnly }) =>
      put(`/drives/${serial}`, {
        drive_id: serial,
        path_on_host: inJail(file),
        // A root device would be moved to the front, and the initramfs mounts it anyway.
        is_root_device: false,
        is_read_only: readOnly,
        // Nothing on a drive outlives the VM.
        cache_type: 'Unsafe',
      }),
    ),
    ...(network === undefined
      ? []
      : [
          put('/network-interfaces/net0', {
            iface_id: 'net0',
            guest_mac: network.mac,
            host_dev_name: network.tap,
            ...limiter('rx_rate_limiter', network.bandwidth.ingress),
            ...limiter('tx_rate_limiter', network.bandwidth.egress),
          }),
        ]),
    put('/vsock', { guest_cid: guestCid, uds_path: inJail(jailFiles.control) }),
    put('/entropy', limiter('rate_limiter', entropyBytesPerSecond)),
    ...(abilities.limitsSerial ? [put('/serial', { rate_limiter: bucket(serialBytesPerSecond) })] : []),
    put('/actions', { action_type: 'InstanceStart' }),
  ];
}

/** Puts a file below a drive, or tells that its size has changed. */
export function driveRequest(id: string, file: string): ApiRequest {
  return { method: 'PATCH', path: `/drives/${id}`, body: { drive_id: id, path_on_host: inJail(file) } };
}

/** The serial port is off: what a guest writes there costs this machine. Drives have no serials, so their order is told. */
function kernelArguments(given: readonly string[], slots: DriveSlots): string[] {
  return [
    ...given.filter((argument) => !/^(?:console|8250\.nr_uarts)=/.test(argument)),
    '8250.nr_uarts=0',
    'pci=off',
    `kiln.drives=${slots.order}`,
  ];
}

/** One, or an even number; the control group holds a VM to what it may have. */
function vcpuCount(cpus: number): number {
  return cpus <= 1 ? 1 : Math.min(mostCpus, 2 * Math.ceil(cpus / 2));
}

function limiter(name: string, bytesPerSecond: number): Record<string, unknown> {
  return bytesPerSecond === 0 ? {} : { [name]: { bandwidth: bucket(bytesPerSecond) } };
}

function bucket(bytesPerSecond: number): { size: number; refill_time: number } {
  const size = Math.ceil((bytesPerSecond * refillMilliseconds) / 1000);
  return { size, refill_time: refillMilliseconds };
}

function inJail(file: string): string {
  return `/${file}`;
}

function put(path: string, body: Record<string, unknown>): ApiRequest {
  return { method: 'PUT', path, body };
}
