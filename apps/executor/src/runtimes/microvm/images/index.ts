export {
  type HeldImage,
  type ImageStore,
  type ImageStoreOptions,
  openImageStore,
} from './image-store.ts';
export type { StoredImage } from './stored-image.ts';
