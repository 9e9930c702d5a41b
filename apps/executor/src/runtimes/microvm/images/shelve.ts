import { join } from 'node:path';
import type { LayerFile } from './layer-stream.ts';
import { buildDriveOfLayers } from './layers.ts';
import { imageLimits } from './limits.ts';
import type { ImageConfig } from './manifest.ts';
import type { ImageRecord, Shelf } from './shelf.ts';

export interface NewImage {
  imageId: string;
  config: ImageConfig;
  layers: readonly LayerFile[];
}

/** Makes the drive of an image and puts it on the shelf; the caller has the image's lock. @throws ImageError */
export async function shelve(
  shelf: Shelf,
  workplace: string,
  image: NewImage,
  from: Pick<ImageRecord, 'sources' | 'localNames'>,
  signal: AbortSignal,
): Promise<void> {
  const { diffIds, ...config } = image.config;
  const path = join(workplace, 'drive');
  await buildDriveOfLayers(path, { layers: image.layers, diffIds, limits: imageLimits }, signal);
  await shelf.add(path, { imageId: image.imageId, config, createdAt: new Date().toISOString(), ...from });
}
