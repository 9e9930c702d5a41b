import { join } from 'node:path';
import { ImageError } from './image-error.ts';
import type { LayerFile } from './layer-stream.ts';
import { mergeLayers } from './layers.ts';
import { imageLimits } from './limits.ts';
import { takeLock } from './lock.ts';
import { chooseForPlatform, type Descriptor, type Manifest, readConfig, readManifest } from './manifest.ts';
import { downloadProgress } from './progress.ts';
import type { Repository } from './registry/repository.ts';
import type { ImageSource, Shelf } from './shelf.ts';
import { shelve } from './shelve.ts';

export interface Pull {
  shelf: Shelf;
  repository: Repository;
  /** The repository's name with its registry. */
  repositoryName: string;
  /** The reference as people wrote it. */
  text: string;
  /** Its tag, or its digest. */
  tagOrDigest: string;
  /** Frees that much for what is coming. */
  makeRoom(bytes: number): Promise<void>;
  notice(line: string): void;
  signal: AbortSignal;
}

const layersAtOnce = 3;

/**
 * Gets an image from a registry onto the shelf. An image that is there, but from another repository, is downloaded all the
 * same and its contents compared by their digests: otherwise a registry of the job's own could name somebody's private image and have it.
 * @returns its id
 * @throws ImageError, or the signal's reason
 */
export async function pull(options: Pull): Promise<{ imageId: string; digest: string }> {
  const { shelf, repository, text, notice, signal } = options;
  const { manifest, digests } = await platformManifest(repository, options.tagOrDigest);
  const imageId = manifest.config.digest;
  const source = { repository: options.repositoryName, digests, names: [text] };
  const digest = digests[0] ?? imageId;
  const lock = await takeLock(shelf.lockPath(imageId), {
    wait: true,
    onWait: () => notice(`waiting for image ${text}, which somebody else is getting`),
    signal,
  });
  await using _ = lock;
  const there = await shelf.get(imageId);
  if (there?.sources.some((known) => isSame(known, source))) {
    await shelf.update({ ...there, sources: withSource(there.sources, source) });
    return { imageId, digest };
  }
  const config = readConfig(await repository.smallBlob(manifest.config));
  const packedBytes = manifest.layers.reduce((sum, { size }) => sum + size, 0);
  // The layers, and a drive of about their size.
  await options.makeRoom(2 * packedBytes);
  const started = performance.now();
  await using workplace = await shelf.workplace();
  const layers = await download(manifest.layers, workplace.path, options, packedBytes);
  if (there !== undefined) {
    await mergeLayers({ layers, diffIds: config.diffIds, limits: imageLimits }, signal);
    await shelf.update({ ...there, sources: withSource(there.sources, source) });
  } else {
    await shelve(
      shelf,
      workplace.path,
      { imageId, config, layers },
      { sources: [source], localNames: [] },
      signal,
    );
  }
  notice(`pulled image ${text} (${digest}) in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return { imageId, digest };
}

/** The manifest for this machine's platform, and the digests that lead to it from the outside in. */
async function platformManifest(
  repository: Repository,
  tagOrDigest: string,
): Promise<{ manifest: Manifest; digests: string[] }> {
  const digests: string[] = [];
  let reference = tagOrDigest;
  // A list in a list occurs.
  for (let depth = 0; depth < 3; depth++) {
    const { bytes, digest } = await repository.manifest(reference);
    digests.push(digest);
    const { manifest, index } = readManifest(bytes, imageLimits);
    if (manifest) return { manifest, digests };
    reference = chooseForPlatform(index).digest;
  }
  throw new ImageError('its lists of platforms lead to each other');
}

/** Each blob once, however often the manifest names it. */
async function download(
  layers: readonly Descriptor[],
  directory: string,
  { repository, text, notice }: Pull,
  packedBytes: number,
): Promise<LayerFile[]> {
  notice(`pulling image ${text}`);
  const progress = downloadProgress(text, packedBytes, notice);
  const pathOf = (layer: Descriptor): string => join(directory, layer.digest.replace('sha256:', ''));
  const left = [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
  let hasFailed = false;
  const worker = async (): Promise<void> => {
    for (let layer = left.shift(); layer !== undefined && !hasFailed; layer = left.shift()) {
      try {
        await repository.download(layer, pathOf(layer), progress);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  // All have ended before the directory goes.
  const results = await Promise.allSettled(Array.from({ length: layersAtOnce }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return layers.map((layer) => ({ path: pathOf(layer), start: 0, size: layer.size }));
}

function isSame(known: ImageSource, source: ImageSource): boolean {
  return known.repository === source.repository;
}

const mostNames = 50;

function withSource(sources: readonly ImageSource[], added: ImageSource): ImageSource[] {
  const known = sources.find((one) => isSame(one, added));
  const merge = (one: string[], other: string[]): string[] =>
    [...new Set([...other, ...one])].slice(0, mostNames);
  const merged =
    known === undefined
      ? added
      : { ...added, digests: merge(known.digests, added.digests), names: merge(known.names, added.names) };
  return [...sources.filter((one) => !isSame(one, added)), merged];
}
