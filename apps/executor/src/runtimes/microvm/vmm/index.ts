export { createQemu, qemuVersion } from './qemu/index.ts';
export {
  type Accelerator,
  type Drive,
  type GatedProcess,
  type Vm,
  VmError,
  type Vmm,
  type VmSpec,
} from './vmm.ts';
