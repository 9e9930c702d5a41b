export { createFirecracker } from './firecracker.ts';
export { type FirecrackerPrograms, findFirecracker, type Unusable } from './programs.ts';
