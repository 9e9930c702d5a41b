import { createHash } from 'node:crypto';
import { buildDrive } from './drive-builder.ts';
import { ImageError } from './image-error.ts';
import { createImageTree, type ImageTree } from './image-tree.ts';
import { type LayerFile, openLayer } from './layer-stream.ts';
import type { ImageLimits } from './limits.ts';
import { mergedTar, planTree } from './merged-tar.ts';
import { readTar, type TarEntry } from './tar-reader.ts';

export interface LayersSource {
  /** From the lowest to the highest. */
  layers: readonly LayerFile[];
  /** `sha256:...` of each layer once decompressed, as the image's config tells. */
  diffIds: readonly string[];
  limits: ImageLimits;
}

/**
 * Makes one drive of an image's layers, in two passes over them: the first checks all of them and merges what they say
 * about files, the second passes the contents of those that are left on to the drive.
 * @throws ImageError
 */
export async function buildDriveOfLayers(
  path: string,
  source: LayersSource,
  signal: AbortSignal,
): Promise<void> {
  const { layers, limits } = source;
  const { root } = await mergeLayers(source, signal);
  const plan = planTree(root, limits);
  const archive = mergedTar(
    plan,
    (layer) => {
      const file = layers[layer];
      if (file === undefined) throw new RangeError(`no layer ${layer}`);
      return abortable(openLayer(file, limits.unpackedBytes, limits.unpackedBytes), signal);
    },
    limits,
  );
  await buildDrive(
    path,
    { archive, rootMode: root.attributes.mode, newestSeconds: plan.newestSeconds },
    signal,
  );
}

/**
 * Reads all layers, and compares them with the digests in the image's config.
 * @throws ImageError
 */
export async function mergeLayers(
  { layers, diffIds, limits }: LayersSource,
  signal: AbortSignal,
): Promise<ImageTree> {
  if (layers.length !== diffIds.length || layers.length > limits.layers)
    throw new ImageError(
      `the image has ${layers.length} layers, and a config that tells of ${diffIds.length}; at most ${limits.layers} are possible`,
    );
  const tree = createImageTree(limits);
  let bytesLeft = limits.unpackedBytes;
  let entriesLeft = limits.entries;
  for (const [index, layer] of layers.entries()) {
    const scanned = await scanLayer(layer, { bytesLeft, entriesLeft, limits }, signal);
    if (scanned.diffId !== diffIds[index])
      throw new ImageError(`layer ${index + 1} does not have the content that the image's config names`);
    bytesLeft -= scanned.bytes;
    entriesLeft -= scanned.entries.length;
    tree.addLayer(scanned.entries);
  }
  return tree;
}

async function scanLayer(
  layer: LayerFile,
  scope: { bytesLeft: number; entriesLeft: number; limits: ImageLimits },
  signal: AbortSignal,
): Promise<{ entries: TarEntry[]; bytes: number; diffId: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const source = openLayer(layer, scope.bytesLeft, scope.limits.unpackedBytes);
  async function* counted(): AsyncGenerator<Buffer, void> {
    for await (const chunk of abortable(source, signal)) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  }
  const chunks = counted();
  const archive = readTar(chunks, scope.limits.headerBytes);
  const entries: TarEntry[] = [];
  for (let entry = await archive.next(); entry; entry = await archive.next()) {
    if (entries.length === scope.entriesLeft)
      throw new ImageError(`the image has more than ${scope.limits.entries} files in its layers`);
    entries.push(entry);
  }
  // The digest counts what follows the end of the archive too.
  for await (const _ of chunks);
  return { entries, bytes, diffId: `sha256:${hash.digest('hex')}` };
}

async function* abortable(source: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer, void> {
  for await (const chunk of source) {
    signal.throwIfAborted();
    yield chunk;
  }
}
