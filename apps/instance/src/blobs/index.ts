export type { Blob, BlobRange, Blobs } from './blobs.ts';
export { openLocalBlobs } from './local-blobs.ts';
