export { type Dockerd, ensureDockerd, startDockerd } from './dockerd.ts';
export { askEngine } from './engine-call.ts';
export { demoImages, ensureImages, type ImageKind, madeImages, writeImageArchive } from './images.ts';
