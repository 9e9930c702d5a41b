/** How a VM's processor is had: by the machine's own, or by software. */
export type Accelerator = 'kvm' | 'tcg';

/** Where a machine has a drive. */
export interface DrivePlace {
  /** By which the guest finds it; at most 20 characters. */
  serial: string;
  readOnly: boolean;
}

export interface Drive extends DrivePlace {
  /** Name of the image in the VM's directory, raw. */
  file: string;
}

export interface VmSpec {
  /** Shown in the process list. */
  name: string;
  /** Of this VM alone, closed to everybody but its user; all files are named relative to it. */
  directory: string;
  /** User and group of the process. */
  uid: number;
  accelerator: Accelerator;
  cpus: number;
  memoryBytes: number;
  kernelFile: string;
  initrdFile: string;
  kernelArguments: readonly string[];
  drives: readonly Drive[];
  /** For drives of those VMs that go on from a snapshot of this one. */
  emptyPlaces?: readonly DrivePlace[];
  /** undefined: no network interface. */
  network: VmInterface | undefined;
  /** Goes on from here instead of booting; drives that the saved machine had no place for are left to be attached. */
  snapshot?: Snapshot | undefined;
}

/** The state of a VM that was saved. */
export interface Snapshot {
  /** Of a file that only this process needs to be able to read. */
  path: string;
  /** Of the machine, empty or not. It had a network interface if those that go on from it have one. */
  places: readonly (Drive | DrivePlace)[];
}

export interface VmInterface {
  /** Name of the tap device in the process's network namespace. */
  tap: string;
  mac: string;
  /** Bytes per second into and out of the VM, for a VMM that bounds them too; 0: no limit. */
  bandwidth: { ingress: number; egress: number };
}

/** Where the agent of a guest is reached: a Unix socket. */
export interface ControlAddress {
  socketPath: string;
  /** Port of the guest's vsock to ask for first; absent: the socket leads nowhere else. */
  vsockPort?: number | undefined;
}

/** A process that exists but waits: nothing of the VM is there before {@link GatedProcess.go}. If this process dies, it ends by itself. */
export interface GatedProcess {
  readonly pid: number;
  /** Path of the network namespace that was made for it. */
  readonly networkNamespace: string;
  /** Lets it become the VMM. @throws VmError when the VMM does not come up */
  go(): Promise<Vm>;
  /** Ends it instead. */
  cancel(): Promise<void>;
}

/** Driver of one kind of virtual machine monitor. */
export interface Vmm {
  readonly name: 'qemu' | 'firecracker';
  /** @param directory of a VM, as in {@link VmSpec} */
  control(directory: string): ControlAddress;
  /**
   * @param survive the VM outlives this process; otherwise it is killed with it
   * @throws TooManyDrives; VmError when the program cannot be started
   */
  prepare(spec: VmSpec, options: { survive: boolean }): Promise<GatedProcess>;
  /**
   * All that a machine of this spec is made of, in words: what was saved of one fits another where they are equal. Absent where no
   * VM can be saved.
   */
  machine?(spec: VmSpec): Promise<string>;
}

/** A virtual machine whose VMM runs. */
export interface Vm {
  readonly pid: number;
  readonly control: ControlAddress;
  /** Resolves when the process is gone, with how it ended. */
  readonly ended: Promise<string>;
  /** What the guest's console showed last, at most 12 kB. */
  consoleTail(): string;
  /** Name of a drive's device in the guest, such as `vdc`; undefined: it is known there by its serial. */
  guestDevice(serial: string): string | undefined;
  /** Plugs a drive into the running machine. @throws VmError */
  attachDrive(drive: Drive): Promise<void>;
  /** Tells the guest that the file of a drive has another size now. @throws VmError */
  resizeDrive(serial: string, bytes: number): Promise<void>;
  /** Stops the guest for good and writes its state to a file, which must not be there yet. @throws VmError */
  save?(path: string): Promise<void>;
  /** Asks the VMM to quit, kills it when it does not; resolves when the process is gone. */
  stop(graceMilliseconds: number): Promise<void>;
}

/** The VMM could not do what was asked, or is gone. */
export class VmError extends Error {
  override readonly name = 'VmError';
}

/** A job has more images than VMs of this VMM take. */
export class TooManyDrives extends VmError {}
