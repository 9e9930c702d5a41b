import fc from 'fast-check';
import { expect, it } from 'vitest';
import { flushPacket, pktLine, readWants } from './pkt-line.ts';

const a = 'a'.repeat(40);
const b = 'b'.repeat(40);
const body = (...parts: string[]) => Buffer.from(parts.join(''));

it('writes the length of a line in bytes, itself included', () => {
  expect(pktLine('# service=git-upload-pack\n')).toBe('001e# service=git-upload-pack\n');
  expect(pktLine('ä')).toBe('0006ä');
});

it('finds what protocols 0 and 2 ask for, each once', () => {
  const old = body(
    pktLine(`want ${a} multi_ack thin-pack\n`),
    pktLine(`want ${b}\n`),
    flushPacket,
    pktLine('done\n'),
  );
  expect(readWants(old, 10)).toEqual([a, b]);
  const new_ = body(
    pktLine('command=fetch'),
    '0001',
    pktLine(`want ${a}\n`),
    pktLine(`want ${a}`),
    flushPacket,
  );
  expect(readWants(new_, 10)).toEqual([a]);
  expect(readWants(old, 1)).toEqual([a]);
});

it('stops at what is no line', () => {
  expect(readWants(body('zzzz', pktLine(`want ${a}\n`)), 10)).toEqual([]);
  expect(readWants(body(pktLine(`want ${a}\n`), 'ffff'), 10)).toEqual([a]);
  expect(readWants(body(pktLine(`want ${a}x\n`), pktLine('want -\n')), 10)).toEqual([]);
});

it('ends on any input', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(readWants(Buffer.from(bytes), 5).length).toBeLessThanOrEqual(5);
    }),
  );
});
