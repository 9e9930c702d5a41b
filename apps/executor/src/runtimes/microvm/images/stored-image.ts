import type { ShelvedImage } from './shelf.ts';

/** For people and programs. */
export interface StoredImage {
  imageId: string;
  names: string[];
  digests: string[];
  bytes: number;
  createdAt: string;
  lastUsedAt: string;
  isHeld: boolean;
}

/** By a name, a digest, or the beginning of an id. */
export function isCalled(image: ShelvedImage, what: string): boolean {
  const { names, digests, imageId } = stored(image);
  const id = imageId.replace('sha256:', '');
  if (/^(sha256:)?[0-9a-f]{6,64}$/.test(what) && id.startsWith(what.replace('sha256:', ''))) return true;
  return (
    names.includes(what) ||
    names.includes(`${what}:latest`) ||
    digests.some((digest) => what.endsWith(digest))
  );
}

export function stored(image: ShelvedImage): StoredImage {
  return {
    imageId: image.imageId,
    names: [...new Set([...image.localNames, ...image.sources.flatMap(({ names }) => names)])],
    digests: [...new Set(image.sources.flatMap(({ digests }) => digests))],
    bytes: image.driveBytes,
    createdAt: image.createdAt,
    lastUsedAt: image.lastUsedAt.toISOString(),
    isHeld: image.isHeld,
  };
}
