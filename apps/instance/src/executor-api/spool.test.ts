import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Spool } from './spool.ts';

describe('Spool', () => {
  let directory: string;
  beforeAll(async () => {
    directory = join(await mkdtemp(join(tmpdir(), 'kiln-spool-')), 'made', 'when-needed');
  });
  afterAll(() => rm(join(directory, '..', '..'), { recursive: true, force: true }));

  it('gives back what was written since the last reset, from any place, as often as asked', async () => {
    const write = fc.record({
      bytes: fc.integer({ min: 0, max: 700_000 }),
      fill: fc.integer({ min: 0, max: 255 }),
    });
    const step = fc.oneof(
      { weight: 6, arbitrary: write },
      { weight: 1, arbitrary: fc.constant('reset' as const) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 12 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (steps, part) => {
          await using spool = new Spool(directory);
          let expected = Buffer.alloc(0);
          for (const one of steps) {
            if (one === 'reset') {
              spool.reset();
              expected = Buffer.alloc(0);
            } else {
              const bytes = Buffer.alloc(one.bytes, one.fill);
              spool.write(bytes);
              expected = Buffer.concat([expected, bytes]);
            }
            await spool.settle();
          }
          expect(spool.bytes).toBe(expected.length);
          const start = Math.floor(part * expected.length);
          for (const from of [start, 0]) {
            const pieces = await Array.fromAsync(spool.read(from));
            expect(pieces.every(({ length }) => length > 0 && length <= 256 * 1024)).toBe(true);
            expect(Buffer.concat(pieces).equals(expected.subarray(from))).toBe(true);
          }
        },
      ),
      { numRuns: 25 },
    );
    // Files have no name once they are open.
    expect(await readdir(directory)).toEqual([]);
  });
});
