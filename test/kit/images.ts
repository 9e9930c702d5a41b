import { ensureImages, madeImages } from '../../tools/docker/index.ts';

/** Images that exist on the test daemon, in no registry: a shell with the usual tools; the same with git; with a perl alone. */
export const testImages = madeImages;

export async function buildTestImages(
  socketPath: string,
  images: readonly (keyof typeof testImages)[] = ['busybox', 'git'],
): Promise<void> {
  await ensureImages(socketPath, () => undefined, images);
}
