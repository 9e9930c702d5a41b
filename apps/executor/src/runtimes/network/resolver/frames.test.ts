import fc from 'fast-check';
import { expect, test } from 'vitest';
import { frame, frameReader } from './frames.ts';

test('takes messages out of a stream however it is cut', () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 });
  fc.assert(
    fc.property(messages, fc.integer({ min: 1, max: 50 }), (sent, size) => {
      const stream = Buffer.concat(sent.map((message) => frame(Buffer.from(message))));
      const reader = frameReader();
      const taken: Buffer[] = [];
      for (let at = 0; at < stream.length; at += size)
        taken.push(...reader.take(stream.subarray(at, at + size)));
      expect(taken.map((message) => message.toString('hex'))).toEqual(
        sent.map((message) => Buffer.from(message).toString('hex')),
      );
    }),
  );
});
