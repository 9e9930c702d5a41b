export type RangeReading = { start: number; end: number } | 'whole' | 'unsatisfiable';

/**
 * Reads a `Range` header for something of `size` bytes: one range in bytes, `end` exclusive. Several ranges, other
 * units and headers that cannot be read give the whole, as HTTP allows.
 */
export function readRange(header: string | undefined, size: number): RangeReading {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (!match || (first === '' && last === '')) return 'whole';
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return 'whole';
  if (start >= size) return 'unsatisfiable';
  return { start, end: last === '' ? size : Math.min(Number(last) + 1, size) };
}
