import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { zstdDecompress } from './zstd-frames.ts';

async function decompress(bytes: Buffer, chunkBytes: number): Promise<Buffer> {
  async function* chunks(): AsyncGenerator<Buffer, void> {
    for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
  }
  const parts: Buffer[] = [];
  for await (const part of zstdDecompress(chunks())) parts.push(part);
  return Buffer.concat(parts);
}

const skippable = (bytes: Uint8Array): Buffer => {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a53, 0);
  header.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
};

test('gives all frames and passes over what is to be skipped', async () => {
  const frame = fc.record({
    content: fc.oneof(
      fc.uint8Array({ maxLength: 5000 }),
      fc.nat(300_000).map((length) => new Uint8Array(length).fill(7)),
    ),
    isSkipped: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(frame, { maxLength: 5 }),
      fc.integer({ min: 1, max: 70_000 }),
      async (frames, size) => {
        const stream = Buffer.concat(
          frames.map(({ content, isSkipped }) =>
            isSkipped ? skippable(content) : zstdCompressSync(content),
          ),
        );
        const expected = Buffer.concat(frames.filter((one) => !one.isSkipped).map((one) => one.content));
        const atLeast = Math.ceil(stream.length / 2000);
        expect((await decompress(stream, Math.max(size, atLeast))).equals(expected)).toBe(true);
      },
    ),
    { numRuns: 40 },
  );
});

test('refuses what is cut or followed by something else', async () => {
  const frame = zstdCompressSync(Buffer.from('hello '.repeat(100)));
  for (let length = 1; length < frame.length; length++)
    await expect(decompress(frame.subarray(0, length), 9)).rejects.toThrow('damaged');
  await expect(decompress(Buffer.concat([frame, Buffer.from('garbage')]), 9)).rejects.toThrow('damaged');
});

test('a damaged frame is an error, not a process that hangs', async () => {
  const frame = zstdCompressSync(Buffer.from(Array.from({ length: 3000 }, (_, at) => (at * at) % 251)));
  for (let at = 4; at < frame.length; at += 37) {
    const damaged = Buffer.from(frame);
    damaged[at] = (damaged[at] ?? 0) ^ 0x55;
    await decompress(damaged, 100).then(
      () => undefined,
      (error: Error) => expect(error).toBeInstanceOf(Error),
    );
  }
});
