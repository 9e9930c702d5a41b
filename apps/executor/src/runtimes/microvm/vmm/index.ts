export { consoleText } from './console-tail.ts';
export {
  createFirecracker,
  type FirecrackerPrograms,
  findFirecracker,
  type Unusable,
} from './firecracker/index.ts';
export { createQemu, qemuFinding, qemuVersion } from './qemu/index.ts';
export {
  type Accelerator,
  type ControlAddress,
  type Drive,
  type DrivePlace,
  type GatedProcess,
  type Snapshot,
  TooManyDrives,
  type Vm,
  VmError,
  type VmInterface,
  type Vmm,
  type VmSpec,
} from './vmm.ts';
