export { type Dockerd, ensureDockerd, startDockerd } from './dockerd.ts';
export { askEngine } from './engine-call.ts';
export { demoImages, ensureImages, writeImageArchive } from './images.ts';
