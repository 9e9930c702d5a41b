export { controlSocket } from './arguments.ts';
export { createQemu } from './qemu.ts';
export { qemuVersion } from './version.ts';
