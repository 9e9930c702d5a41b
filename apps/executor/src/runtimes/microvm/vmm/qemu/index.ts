export { createQemu } from './qemu.ts';
export { qemuVersion } from './version.ts';
