import { statfs } from 'node:fs/promises';
import { takeLock } from './lock.ts';
import type { Shelf, ShelvedImage } from './shelf.ts';

/** Left free on the disk beside what an image is expected to need. */
const spareBytes = 512 * 2 ** 20;

/**
 * Removes images that no job uses, the least recently used first, until all of them have at most `keepBytes`, or the disk
 * has `freeBytes` free; those that somebody else is working on stay.
 * @returns what was removed
 */
export async function removeOldest(
  shelf: Shelf,
  isEnough: (keptBytes: number) => boolean | Promise<boolean>,
  signal: AbortSignal,
): Promise<ShelvedImage[]> {
  const images = (await shelf.all()).sort((a, b) => a.lastUsedAt.getTime() - b.lastUsedAt.getTime());
  let kept = images.reduce((sum, { driveBytes }) => sum + driveBytes, 0);
  const removed: ShelvedImage[] = [];
  for (const image of images) {
    if (await isEnough(kept)) break;
    if (!(await removeUnlessHeld(shelf, image.imageId, signal))) continue;
    kept -= image.driveBytes;
    removed.push(image);
  }
  return removed;
}

/** @returns whether it was removed: not when a job uses it, or somebody is working on it */
export async function removeUnlessHeld(shelf: Shelf, imageId: string, signal: AbortSignal): Promise<boolean> {
  await using lock = await takeLock(shelf.lockPath(imageId), { wait: false, signal });
  if (lock === undefined) return false;
  const image = await shelf.get(imageId);
  if (image === undefined || image.isHeld) return false;
  await shelf.remove(imageId);
  return true;
}

/** Whether the disk has room for so much more. */
export async function hasRoom(directory: string, bytes: number): Promise<boolean> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize >= bytes + spareBytes;
}
