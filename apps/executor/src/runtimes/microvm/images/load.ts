import { type ImageReference, parseImageReference } from '../../registries/index.ts';
import { readImageArchive } from './archive.ts';
import { ImageError } from './image-error.ts';
import { takeLock } from './lock.ts';
import type { Shelf } from './shelf.ts';
import { shelve } from './shelve.ts';
import { type StoredImage, stored } from './stored-image.ts';

/** Takes over the images of an archive, as images that exist on this machine only. @throws ImageError */
export async function loadArchive(
  shelf: Shelf,
  { path, name }: { path: string; name?: string },
  signal: AbortSignal,
): Promise<StoredImage[]> {
  await using unpacked = await shelf.workplace();
  const images = await readImageArchive(path, unpacked.path, signal);
  if (name !== undefined && images.length !== 1)
    throw new ImageError(`${path} holds ${images.length} images, which cannot all be named ${name}`);
  const loaded: StoredImage[] = [];
  for (const image of images) {
    const names = (name === undefined ? image.names : [name]).map((one) =>
      localName(parseImageReference(one)),
    );
    if (names.length === 0) throw new ImageError(`${path} gives an image no name: write one after the file`);
    await using workplace = await shelf.workplace();
    await withLock(shelf, image.imageId, signal, async () => {
      const there = await shelf.get(image.imageId);
      if (there === undefined)
        await shelve(shelf, workplace.path, image, { sources: [], localNames: names }, signal);
      else await shelf.update({ ...there, localNames: [...new Set([...there.localNames, ...names])] });
    });
    await forgetNames(shelf, names, image.imageId, signal);
    const made = await shelf.get(image.imageId);
    if (made) loaded.push(stored(made));
  }
  return loaded;
}

/** Of an image that exists on this machine only. */
export function localName({ familiarName, tag }: ImageReference): string {
  return `${familiarName}:${tag ?? 'latest'}`;
}

/** A name stands for what was loaded last under it. */
async function forgetNames(
  shelf: Shelf,
  names: readonly string[],
  except: string,
  signal: AbortSignal,
): Promise<void> {
  for (const { imageId, localNames } of await shelf.all()) {
    if (imageId === except || !localNames.some((name) => names.includes(name))) continue;
    await withLock(shelf, imageId, signal, async () => {
      const image = await shelf.get(imageId);
      if (image)
        await shelf.update({
          ...image,
          localNames: image.localNames.filter((name) => !names.includes(name)),
        });
    });
  }
}

async function withLock(
  shelf: Shelf,
  imageId: string,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  await using _ = await takeLock(shelf.lockPath(imageId), { wait: true, signal });
  await work();
}
