import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { ImageError } from './image-error.ts';
import { type LayerFile, openLayer } from './layer-stream.ts';
import { imageLimits } from './limits.ts';
import { chooseForPlatform, type Descriptor, type Manifest, readConfig, readManifest } from './manifest.ts';
import type { NewImage } from './shelve.ts';
import { readTar } from './tar-reader.ts';

export interface ArchivedImage extends NewImage {
  /** As the archive names it; `undefined` where it does not. */
  names: string[];
}

/** More entries than any archive of images has: two per layer, and one per image. */
const mostEntries = 100_000;

/** Where the files of an archive are in it. */
interface ArchiveFiles {
  path: string;
  files: Map<string, { start: number; size: number }>;
}

/**
 * Finds the images in a file that `docker save` or `skopeo copy ... oci-archive:` has written, compressed or not. Layers
 * stay where they are.
 * @param workplace a directory where a compressed archive is decompressed to
 * @throws ImageError
 */
export async function readImageArchive(
  path: string,
  workplace: string,
  signal: AbortSignal,
): Promise<ArchivedImage[]> {
  const archive = await indexArchive(await plainFile(path, workplace, signal), signal);
  if (archive.files.has('manifest.json')) return dockerImages(archive);
  if (archive.files.has('index.json')) return ociImages(archive);
  throw new ImageError(`${path} holds no image: it has neither a manifest.json nor an index.json`);
}

async function plainFile(path: string, workplace: string, signal: AbortSignal): Promise<string> {
  const { size } = await stat(path);
  const [first = Buffer.alloc(0)] = await firstBytes(path);
  const isPacked = [0x1f8b, 0x28b5].includes(first.length >= 2 ? first.readUInt16BE(0) : 0);
  if (!isPacked) return path;
  const plain = join(workplace, 'archive');
  const content = openLayer({ path, start: 0, size }, imageLimits.packedBytes, imageLimits.packedBytes);
  await pipeline(content, createWriteStream(plain, { mode: 0o600 }), { signal });
  return plain;
}

async function firstBytes(path: string): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { end: 1 }) as AsyncIterable<Buffer>) chunks.push(chunk);
  return chunks;
}

async function indexArchive(path: string, signal: AbortSignal): Promise<ArchiveFiles> {
  const files: ArchiveFiles['files'] = new Map();
  const links = new Map<string, string>();
  const source = createReadStream(path, { highWaterMark: 1024 * 1024, signal });
  const archive = readTar(source as AsyncIterable<Buffer>, imageLimits.headerBytes);
  let entries = 0;
  for (let entry = await archive.next(); entry; entry = await archive.next()) {
    if (++entries > mostEntries) throw new ImageError(`${path} has more than ${mostEntries} entries`);
    const name = posix.normalize(entry.path);
    if (entry.type === 'file') files.set(name, { start: entry.offset, size: entry.size });
    // Equal layers are written once, and linked.
    else if (entry.type === 'symlink') links.set(name, posix.join(posix.dirname(name), entry.linkPath));
    else if (entry.type === 'hardlink') links.set(name, posix.normalize(entry.linkPath));
  }
  for (const [name, target] of links) {
    const file = files.get(target);
    if (file !== undefined && !files.has(name)) files.set(name, file);
  }
  return { path, files };
}

const dockerManifestSchema = z.array(
  z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }),
);

async function dockerImages(archive: ArchiveFiles): Promise<ArchivedImage[]> {
  const manifests = dockerManifestSchema.safeParse(
    parsedJson(await content(archive, 'manifest.json', imageLimits.manifestBytes)),
  );
  if (!manifests.success) throw new ImageError('manifest.json of the archive cannot be read');
  const images: ArchivedImage[] = [];
  for (const { Config, RepoTags, Layers } of manifests.data) {
    const config = await content(archive, posix.normalize(Config), imageLimits.configBytes);
    images.push({
      imageId: sha256(config),
      config: readConfig(config),
      layers: Layers.map((name) => layerFile(archive, posix.normalize(name))),
      names: RepoTags ?? [],
    });
  }
  return images;
}

async function ociImages(archive: ArchiveFiles): Promise<ArchivedImage[]> {
  const { index } = readManifest(
    await content(archive, 'index.json', imageLimits.manifestBytes),
    imageLimits,
  );
  if (index === undefined) throw new ImageError('index.json of the archive is no list of images');
  const images: ArchivedImage[] = [];
  for (const { annotations = {}, ...descriptor } of index.manifests) {
    const manifest = await platformManifest(archive, descriptor);
    const config = await blob(archive, manifest.config, imageLimits.configBytes);
    const name =
      annotations['io.containerd.image.name'] ?? annotations['org.opencontainers.image.ref.name'] ?? '';
    images.push({
      imageId: sha256(config),
      config: readConfig(config),
      layers: manifest.layers.map(({ digest }) => layerFile(archive, blobPath(digest))),
      // Some write the tag alone, which is no name.
      names: /[/:]/.test(name) ? [name] : [],
    });
  }
  return images;
}

async function platformManifest(archive: ArchiveFiles, outer: Descriptor): Promise<Manifest> {
  let descriptor = outer;
  for (let depth = 0; depth < 3; depth++) {
    const read = readManifest(await blob(archive, descriptor, imageLimits.manifestBytes), imageLimits);
    if (read.manifest) return read.manifest;
    descriptor = chooseForPlatform(read.index);
  }
  throw new ImageError('its lists of platforms lead to each other');
}

async function blob(archive: ArchiveFiles, { digest }: Descriptor, maxBytes: number): Promise<Buffer> {
  const bytes = await content(archive, blobPath(digest), maxBytes);
  if (sha256(bytes) !== digest) throw new ImageError(`${blobPath(digest)} of the archive is damaged`);
  return bytes;
}

function blobPath(digest: string): string {
  return `blobs/sha256/${digest.replace('sha256:', '')}`;
}

async function content(archive: ArchiveFiles, name: string, maxBytes: number): Promise<Buffer> {
  const { path, start, size } = layerFile(archive, name);
  if (size > maxBytes) throw new ImageError(`${name} of the archive is too large`);
  if (size === 0) return Buffer.alloc(0);
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { start, end: start + size - 1 }) as AsyncIterable<Buffer>)
    chunks.push(chunk);
  return Buffer.concat(chunks);
}

function layerFile({ path, files }: ArchiveFiles, name: string): LayerFile {
  const file = files.get(name);
  if (file === undefined) throw new ImageError(`the archive lacks ${JSON.stringify(name.slice(0, 200))}`);
  return { path, ...file };
}

function parsedJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new ImageError('manifest.json of the archive is no JSON', { cause: error });
  }
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
