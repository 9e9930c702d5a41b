import { createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import {
  tarEnd,
  tarHeader,
  tarPadding,
  type WrittenEntry,
} from '../../apps/executor/src/runtimes/microvm/images/tar-writer.ts';

/** A file of a layer; its path without a leading slash. */
export type MadeEntry = Partial<WrittenEntry> & { path: string; content?: string | Buffer };

export type Compression = 'none' | 'gzip' | 'zstd';

export interface Blob {
  mediaType: string;
  digest: string;
  bytes: Buffer;
}

/** An image as a registry holds it. */
export interface MadeImage {
  manifest: Blob;
  config: Blob;
  layers: Blob[];
}

export function madeLayer(entries: readonly MadeEntry[]): Buffer {
  const parts = entries.flatMap(({ content = '', ...fields }) => {
    const bytes = Buffer.from(content);
    const attributes = { mode: 0o644, uid: 0, gid: 0, mtime: 1_700_000_000, linkPath: '', xattrs: new Map() };
    const entry = { type: 'file' as const, ...attributes, ...fields, size: bytes.length };
    return [tarHeader(entry), bytes, tarPadding(bytes.length)];
  });
  return Buffer.concat([...parts, tarEnd]);
}

/** @param options `config`: what the image says about its processes, as in its `config.config` */
export function madeImage(
  layers: readonly (readonly MadeEntry[] | Buffer)[],
  options: { compression?: Compression; docker?: boolean; config?: object; architecture?: string } = {},
): MadeImage {
  const { compression = 'gzip', docker = false } = options;
  const plain = layers.map((layer) => (Buffer.isBuffer(layer) ? layer : madeLayer(layer)));
  const suffix = compression === 'none' ? '' : docker ? `.${compression}` : `+${compression}`;
  const layerType = docker
    ? `application/vnd.docker.image.rootfs.diff.tar${suffix}`
    : `application/vnd.oci.image.layer.v1.tar${suffix}`;
  const blobs = plain.map((bytes) => blobOf(layerType, compressed(bytes, compression)));
  const config = jsonBlob(
    docker ? 'application/vnd.docker.container.image.v1+json' : 'application/vnd.oci.image.config.v1+json',
    {
      architecture: options.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
      os: 'linux',
      config: options.config ?? {},
      rootfs: { type: 'layers', diff_ids: plain.map(digestOf) },
    },
  );
  return { config, layers: blobs, manifest: manifestOf(config, blobs, docker) };
}

export function manifestOf(config: Blob, layers: readonly Blob[], docker = false): Blob {
  const mediaType = docker
    ? 'application/vnd.docker.distribution.manifest.v2+json'
    : 'application/vnd.oci.image.manifest.v1+json';
  return jsonBlob(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: descriptor(config),
    layers: layers.map(descriptor),
  });
}

export function madeIndex(
  images: readonly { image: MadeImage; architecture: string; variant?: string }[],
): Blob {
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  return jsonBlob(mediaType, {
    schemaVersion: 2,
    mediaType,
    manifests: images.map(({ image, architecture, variant }) => ({
      ...descriptor(image.manifest),
      platform: { os: 'linux', architecture, ...(variant === undefined ? {} : { variant }) },
    })),
  });
}

/** As `docker save` writes it. */
export function dockerArchive(image: MadeImage, tags: string[]): Buffer {
  const layerPath = (blob: Blob): string => `${blob.digest.slice(7)}/layer.tar`;
  const configPath = `${image.config.digest.slice(7)}.json`;
  return madeLayer([
    ...image.layers.map((blob) => ({ path: layerPath(blob), content: blob.bytes })),
    { path: configPath, content: image.config.bytes },
    {
      path: 'manifest.json',
      content: JSON.stringify([{ Config: configPath, RepoTags: tags, Layers: image.layers.map(layerPath) }]),
    },
  ]);
}

export function ociArchive(image: MadeImage, name: string | undefined): Buffer {
  const annotations =
    name === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': name } };
  return madeLayer([
    { path: 'oci-layout', content: '{"imageLayoutVersion": "1.0.0"}' },
    ...[image.config, image.manifest, ...image.layers].map((blob) => ({
      path: `blobs/sha256/${blob.digest.slice(7)}`,
      content: blob.bytes,
    })),
    {
      path: 'index.json',
      content: JSON.stringify({
        schemaVersion: 2,
        manifests: [{ ...descriptor(image.manifest), ...annotations }],
      }),
    },
  ]);
}

function jsonBlob(mediaType: string, value: unknown): Blob {
  return blobOf(mediaType, Buffer.from(JSON.stringify(value)));
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function blobOf(mediaType: string, bytes: Buffer): Blob {
  return { mediaType, digest: digestOf(bytes), bytes };
}

function descriptor({ mediaType, digest, bytes }: Blob) {
  return { mediaType, digest, size: bytes.length };
}

function compressed(bytes: Buffer, compression: Compression): Buffer {
  if (compression === 'gzip') return gzipSync(bytes);
  return compression === 'zstd' ? zstdCompressSync(bytes) : bytes;
}
