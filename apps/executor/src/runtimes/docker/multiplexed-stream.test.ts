import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type OutputPiece, outputReader } from './multiplexed-stream.ts';

const piece = fc.record({
  stream: fc.constantFrom('stdout' as const, 'stderr' as const),
  bytes: fc.uint8Array({ minLength: 0, maxLength: 40 }),
});

test('gives back every byte of every stream, however the frames are cut', () => {
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 20 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 30 })),
      (pieces, cuts) => {
        const wire = Buffer.concat(pieces.map(frame));
        const read = outputReader();
        const got: OutputPiece[] = [];
        for (let offset = 0; offset < wire.length; ) {
          const length = cuts.next().value ?? 1;
          got.push(...read(wire.subarray(offset, offset + length)));
          offset += length;
        }
        expect(joined(got)).toEqual(joined(pieces));
        expect(inOrder(got)).toEqual(inOrder(pieces));
      },
    ),
  );
});

test('passes a large frame on as it comes', () => {
  const read = outputReader();
  const header = Buffer.alloc(8);
  header[0] = 1;
  header.writeUInt32BE(1_000_000_000, 4);
  expect(read(header)).toEqual([]);
  expect(read(Buffer.from('abc'))).toEqual([{ stream: 'stdout', bytes: Buffer.from('abc') }]);
});

test('refuses what is not framed', () => {
  expect(() => outputReader()(Buffer.from('plain text'))).toThrow(RangeError);
});

function frame({ stream, bytes }: OutputPiece): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream === 'stdout' ? 1 : 2;
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

function joined(pieces: readonly OutputPiece[]): Record<string, Buffer> {
  const of = (stream: string): Buffer =>
    Buffer.concat(pieces.filter((candidate) => candidate.stream === stream).map(({ bytes }) => bytes));
  return { stdout: of('stdout'), stderr: of('stderr') };
}

/** Which stream each byte belongs to. */
function inOrder(pieces: readonly OutputPiece[]): string {
  return pieces.map(({ stream, bytes }) => stream[3]?.repeat(bytes.length)).join('');
}
