export { controlSocket, createQemu, qemuFinding, qemuVersion } from './qemu/index.ts';
export type {
  Accelerator,
  Drive,
  GatedProcess,
  Vm,
  Vmm,
  VmSpec,
} from './vmm.ts';
