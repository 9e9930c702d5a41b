import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { formatByteSize } from '@kiln/protocol';
import { ImageError } from './image-error.ts';
import { zstdDecompress } from './zstd-frames.ts';

/** Bytes of a file on this machine that hold a layer, compressed or not. */
export interface LayerFile {
  path: string;
  /** Of the first byte, and how many there are. */
  start: number;
  size: number;
}

const readAheadBytes = 256 * 1024;

/**
 * The decompressed archive of a layer. How it is compressed is told by its first bytes: the names that manifests give are
 * not always true.
 * @throws ImageError when it is damaged, or longer than `bytesLeft` of `limitBytes` for all layers
 */
export async function* openLayer(
  file: LayerFile,
  bytesLeft: number,
  limitBytes: number,
): AsyncGenerator<Buffer, void> {
  let total = 0;
  try {
    for await (const chunk of decompressed(file)) {
      total += chunk.length;
      if (total > bytesLeft)
        throw new ImageError(
          `the image is too large: decompressed, its layers have more than ${formatByteSize(limitBytes)}`,
        );
      yield chunk;
    }
  } catch (error) {
    if (isCompressionError(error))
      throw new ImageError(`a layer is damaged: ${error.message}`, { cause: error });
    throw error;
  }
}

async function* decompressed(file: LayerFile): AsyncGenerator<Buffer, void> {
  if (file.size === 0) return;
  const magic: Buffer[] = [];
  for await (const chunk of stored({ ...file, size: Math.min(file.size, 4) })) magic.push(chunk);
  const start = Buffer.concat(magic);
  if (start.length >= 2 && start.readUInt16BE(0) === 0x1f8b) {
    yield* gunzipped(stored(file));
  } else if (start.length >= 4 && [0x28b52ffd, 0x502a4d18].includes(start.readUInt32BE(0))) {
    yield* zstdDecompress(stored(file));
  } else yield* stored(file);
}

async function* gunzipped(source: ReturnType<typeof stored>): AsyncGenerator<Buffer, void> {
  const gunzip = createGunzip({ chunkSize: 128 * 1024 });
  source.once('error', (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  try {
    yield* gunzip as AsyncIterable<Buffer>;
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}

function stored({ path, start, size }: LayerFile) {
  return createReadStream(path, { start, end: start + size - 1, highWaterMark: readAheadBytes });
}

function isCompressionError(error: unknown): error is Error {
  const code = error instanceof Error ? String(Reflect.get(error, 'code')) : '';
  return code.startsWith('Z_') || code.startsWith('ZSTD_') || code.startsWith('ERR_ZSTD');
}
