export { type Dockerd, ensureDockerd, startDockerd } from './dockerd.ts';
export { demoImages, ensureImages } from './images.ts';
