export { controlSocket, createQemu, qemuVersion } from './qemu/index.ts';
export type {
  Accelerator,
  Drive,
  GatedProcess,
  Vm,
  Vmm,
  VmSpec,
} from './vmm.ts';
