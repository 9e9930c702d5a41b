export { consoleText } from './console-tail.ts';
export {
  createFirecracker,
  type FirecrackerPrograms,
  findFirecracker,
  type Unusable,
} from './firecracker/index.ts';
export { createQemu, qemuFinding, qemuVersion } from './qemu/index.ts';
export type {
  Accelerator,
  ControlAddress,
  Drive,
  GatedProcess,
  Vm,
  VmInterface,
  Vmm,
  VmSpec,
} from './vmm.ts';
