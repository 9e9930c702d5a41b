import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatByteSize, parseByteSize } from './byte-sizes.ts';

describe('parseByteSize', () => {
  it.each([
    ['0', 0],
    ['0 KB', 0],
    ['1024', 1024],
    ['512b', 512],
    ['512B', 512],
    ['512m', 512 * 1024 ** 2],
    ['12G', 12 * 1024 ** 3],
    ['12GB', 12 * 1024 ** 3],
    ['12GiB', 12 * 1024 ** 3],
    ['12gib', 12 * 1024 ** 3],
    [' 1.5 GB ', 1.5 * 1024 ** 3],
    ['0.1K', 102],
    ['3T', 3 * 1024 ** 4],
    ['2P', 2 * 1024 ** 5],
  ])('reads %j', (text, bytes) => {
    expect(parseByteSize(text)).toBe(bytes);
  });

  it.each([
    '',
    'G',
    '12X',
    '-1G',
    '1e3',
    '12 G B',
    '1.2.3G',
    '.5G',
    '12GBB',
    '9999P',
    'iB',
    'NaN',
    'Infinity',
  ])('refuses %j', (text) => {
    expect(() => parseByteSize(text)).toThrow(
      `${JSON.stringify(text)} is not a size such as "12G", "512M" or "20GB"`,
    );
  });
});

describe('formatByteSize', () => {
  it.each([
    [0, '0 B'],
    [12, '12 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [65_536, '64 KiB'],
    [1_572_864, '1.5 GiB'.replace('G', 'M')],
    [12 * 1024 ** 3, '12 GiB'],
    [150.4 * 1024 ** 2, '150 MiB'],
    [1024 ** 2 - 1, '1 MiB'],
    [1023.96 * 1024, '1 MiB'],
    [2 * 1024 ** 6, '2048 PiB'],
  ])('writes %d bytes', (bytes, text) => {
    expect(formatByteSize(bytes)).toBe(text);
  });

  it('is read back as nearly the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), (bytes) => {
        expect(Math.abs(parseByteSize(formatByteSize(bytes)) - bytes)).toBeLessThanOrEqual(bytes * 0.05);
      }),
    );
  });
});
