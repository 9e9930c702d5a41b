export { createQemu } from './qemu.ts';
export { qemuFinding, qemuVersion } from './version.ts';
