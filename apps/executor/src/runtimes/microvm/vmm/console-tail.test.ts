import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { captureConsole } from './console-tail.ts';

test('keeps the end of a console, without what a terminal would obey', async () => {
  const source = new PassThrough();
  const console = captureConsole(source);
  source.write('x'.repeat(20_000));
  source.write('\r\n\u001b[31mred\u001b[0m\u0007\r\n\r\n\u202elast line\r\n');
  await expect.poll(() => console.tail().endsWith('\nred\nlast line')).toBe(true);
  expect(console.tail().length).toBeLessThan(12 * 1024);
});

test('reads a flood no faster than it should', async () => {
  const source = new PassThrough({ highWaterMark: 64 * 1024 });
  captureConsole(source);
  let isHeldBack = false;
  for (let count = 0; count < 40 && !isHeldBack; count++) {
    if (!source.write(Buffer.alloc(64 * 1024))) await new Promise((resolve) => setImmediate(resolve));
    isHeldBack = source.isPaused();
  }
  expect(isHeldBack).toBe(true);
  source.destroy();
});
