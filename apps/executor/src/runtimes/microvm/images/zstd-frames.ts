import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { type ByteSource, byteSource } from './byte-source.ts';
import { ImageError } from './image-error.ts';

/**
 * Decompresses all frames of a zstd stream, one after the other. Node's own decompressor stops in silence after the first
 * one, and layers that are made to be fetched in parts have a frame per file.
 */
export async function* zstdDecompress(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  const input = byteSource(source, damaged);
  try {
    for (;;) {
      const magic = await input.exactly(4);
      if (magic === undefined) return;
      const kind = magic.readUInt32LE(0);
      if (kind >= 0x184d2a50 && kind <= 0x184d2a5f) {
        const length = (await input.exactly(4))?.readUInt32LE(0);
        if (length === undefined) throw damaged();
        for await (const _ of input.run(length));
      } else if (kind === 0xfd2fb528) yield* decompressFrame(magic, input);
      else throw damaged();
    }
  } finally {
    await input.end();
  }
}

async function* decompressFrame(magic: Buffer, input: ByteSource): AsyncGenerator<Buffer, void> {
  const decompressor = createZstdDecompress();
  let failure: unknown;
  // A failure of the source reaches the reader by way of the decompressor, which it ends.
  const feeding = pipeline(frameBytes(magic, input), decompressor).catch((error: unknown) => {
    failure = error;
  });
  try {
    yield* decompressor as AsyncIterable<Buffer>;
  } catch (error) {
    await feeding;
    throw failure ?? error;
  } finally {
    decompressor.destroy();
    await feeding;
  }
}

/** The bytes of one frame: its header and blocks tell where it ends. */
async function* frameBytes(magic: Buffer, input: ByteSource): AsyncGenerator<Buffer, void> {
  const descriptor = await need(input, 1);
  const flags = descriptor[0] ?? 0;
  const isSingleSegment = (flags & 0x20) !== 0;
  const windowBytes = isSingleSegment ? 0 : 1;
  const dictionaryBytes = [0, 1, 2, 4][flags & 3] ?? 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0;
  const rest = windowBytes + dictionaryBytes + sizeBytes;
  yield Buffer.concat([magic, descriptor, rest === 0 ? Buffer.alloc(0) : await need(input, rest)]);
  for (let isLast = false; !isLast; ) {
    const header = await need(input, 3);
    yield header;
    const value = header.readUIntLE(0, 3);
    isLast = (value & 1) === 1;
    // A block of one repeated byte stores that byte alone.
    yield* input.run(((value >> 1) & 3) === 1 ? 1 : value >> 3);
  }
  if (flags & 4) yield await need(input, 4);
}

async function need(input: ByteSource, length: number): Promise<Buffer> {
  const bytes = await input.exactly(length);
  if (bytes === undefined) throw damaged();
  return bytes;
}

function damaged(): ImageError {
  return new ImageError('a layer is damaged: its zstd compression cannot be read');
}
