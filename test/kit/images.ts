import { demoImages, ensureImages } from '../../tools/docker/index.ts';

/** Images that exist on the test daemon, in no registry: a shell with the usual tools, and the same with git. */
export const testImages = demoImages;

export async function buildTestImages(socketPath: string): Promise<void> {
  await ensureImages(socketPath, () => undefined);
}
