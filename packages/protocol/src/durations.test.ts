import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from './durations.ts';

describe('parseDuration', () => {
  it.each([
    ['0', 0],
    ['+0', 0],
    ['-0', 0],
    ['0s', 0],
    ['30m', 1800],
    ['1h15m', 4500],
    ['1h15m30.918273645s', 4530.918273645],
    ['500ms', 0.5],
    ['1.5s', 1.5],
    ['.5h', 1800],
    ['1.s', 1],
    ['+5s', 5],
    ['-1.5h', -5400],
    ['100us', 1e-4],
    ['100\u00b5s', 1e-4],
    ['100\u03bcs', 1e-4],
    ['3ns', 3e-9],
    ['1m1m', 120],
    ['2540400h', 9145440000],
  ])('reads %s', (text, seconds) => {
    expect(parseDuration(text)).toBeCloseTo(seconds, 9);
  });

  it.each(['', ' ', '3', '-', 's', '.', '.s', '1 m', '1m ', '1x', '1M', '1d', 'm30', '1h30', '1,5s', '1e3s'])(
    'refuses %j',
    (text) => {
      expect(() => parseDuration(text)).toThrow(RangeError);
    },
  );

  it('says what a bare number lacks', () => {
    expect(() => parseDuration('30')).toThrow(
      '"30" is not a duration such as "30m", "1h15m" or "500ms" (a number needs a unit: "30s" or "30m")',
    );
  });

  it('refuses what Go cannot count', () => {
    expect(() => parseDuration('3000000h')).toThrow('longer than 292 years');
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0s'],
    [1e-9, '1ns'],
    [1.1e-6, '1.1µs'],
    [2.2e-3, '2.2ms'],
    [0.5, '500ms'],
    [3.3, '3.3s'],
    [60, '1m0s'],
    [245, '4m5s'],
    [245.001, '4m5.001s'],
    [1800, '30m0s'],
    [4500, '1h15m0s'],
    [18367.001, '5h6m7.001s'],
    [480_000_000, '133333h20m0s'],
    [-1.5, '-1.5s'],
    [59.999_999_999_9, '1m0s'],
    [3599.999_999_999_9, '1h0m0s'],
    [1e-12, '0s'],
  ])('writes %d seconds as Go does', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  it('is read back as the same number of nanoseconds', () => {
    const nanoseconds = fc.oneof(
      fc.integer({ min: -(10 ** 6), max: 10 ** 6 }),
      fc.maxSafeInteger().map((value) => Math.trunc(value / 16)),
    );
    fc.assert(
      fc.property(nanoseconds, (value) => {
        const seconds = value / 1e9;
        expect(Math.round(parseDuration(formatDuration(seconds)) * 1e9)).toBe(Math.round(seconds * 1e9) + 0);
      }),
    );
  });

  it('never shows more than 59 minutes or seconds', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (seconds) => {
        const [, hours, minutes, rest] =
          /^(?:(\d+)h)?(?:(\d+)m)?([\d.]+)(?:s|ms|µs|ns)$/.exec(formatDuration(seconds)) ?? [];
        expect(Number(minutes ?? 0)).toBeLessThan(60);
        if (hours !== undefined || minutes !== undefined) expect(Number(rest)).toBeLessThan(60);
      }),
    );
  });
});
