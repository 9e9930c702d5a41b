import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeFrame,
  type Frame,
  FrameReader,
  guestFrame,
  maxGuestPayload,
  maxHostPayload,
} from './frames.ts';
import { GuestError } from './guest-error.ts';

const nonce = Buffer.from('0123456789abcdef0123456789abcdef', 'hex');

const frames = fc.array(
  fc.record({
    type: fc.constantFrom(...Object.values(guestFrame)),
    stream: fc.integer({ min: 0, max: 0xffff_ffff }),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.integer({ min: maxGuestPayload - 2, max: maxGuestPayload }).map((length) => new Uint8Array(length)),
    ),
  }),
  { maxLength: 12 },
);
const sizes = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1 });

/** Cut into pieces of these sizes, over and over. */
function* chunks(bytes: Buffer, lengths: readonly number[]): Generator<Buffer> {
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const length = lengths[n % lengths.length] ?? 1;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

function readAll(reader: FrameReader, bytes: Buffer, lengths: readonly number[]): Frame[] {
  return [...chunks(bytes, lengths)].flatMap((chunk) => [...reader.push(chunk)]);
}

const plain = (list: readonly { type: number; stream: number; payload: Uint8Array }[]) =>
  list.map(({ type, stream, payload }) => ({ type, stream, payload: Buffer.from(payload).toString('hex') }));

describe('FrameReader', () => {
  it('gives back what was encoded, however it was cut', () => {
    fc.assert(
      fc.property(frames, sizes, (sent, lengths) => {
        const bytes = Buffer.concat(
          sent.map(({ type, stream, payload }) => encodeFrame(nonce, type, stream, payload)),
        );
        expect(plain(readAll(new FrameReader(nonce), bytes, lengths))).toEqual(plain(sent));
      }),
      { numRuns: 60 },
    );
  });

  it('notices every changed byte of header and trailer before the frame is given out', () => {
    const frame = encodeFrame(nonce, guestFrame.output, 7, Buffer.from('payload'));
    const vital = [...Array(8).keys(), ...Array.from({ length: 8 }, (_, n) => frame.length - 1 - n)];
    for (const position of vital) {
      const broken = Buffer.from(frame);
      broken.writeUInt8(broken.readUInt8(position) ^ 1, position);
      expect(() => readAll(new FrameReader(nonce), broken, [5])).toThrow(GuestError);
    }
  });

  it('refuses garbage at once, or waits for less than one frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 500 }), sizes, (garbage, lengths) => {
        fc.pre(
          Buffer.compare(Buffer.from(garbage.slice(0, 8)), nonce.subarray(0, Math.min(8, garbage.length))) !==
            0,
        );
        expect(() => readAll(new FrameReader(nonce), Buffer.from(garbage), lengths)).toThrow(
          'control protocol',
        );
      }),
    );
  });

  it.each([
    [
      'an absurd length',
      (frame: Buffer) => frame.writeUInt32LE(0xffff_ffff, 8),
      'a frame of 4294967295 bytes',
    ],
    [
      'a byte too many',
      (frame: Buffer) => frame.writeUInt32LE(maxGuestPayload + 1, 8),
      'a frame of 65537 bytes',
    ],
    ['a type of the host', (frame: Buffer) => frame.writeUInt8(1, 16), 'a frame of type 1'],
    ['another session', (frame: Buffer) => randomBytes(8).copy(frame), 'a frame of another session'],
  ])('refuses %s from the header alone', (_what, spoil, message) => {
    const frame = encodeFrame(nonce, guestFrame.output, 1, new Uint8Array(100));
    spoil(frame);
    expect(() => [...new FrameReader(nonce).push(frame.subarray(0, 17))]).toThrow(message);
  });
});

describe('encodeFrame', () => {
  it('refuses what no guest would take', () => {
    expect(() => encodeFrame(nonce, 1, 1, new Uint8Array(maxHostPayload + 1))).toThrow('more than fit');
  });
});
