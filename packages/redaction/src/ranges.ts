/** A stretch of bytes to mask. Offsets count from the first byte that is still held; `start` may lie before it. */
export interface MaskedRange {
  start: number;
  end: number;
  /** Whose replacement stands in its place. */
  secret: number;
  /** Length of the longest match in it, which is the one that decides `secret`. */
  longest: number;
}

/** Adds a range to a sorted list without overlaps; ranges that overlap become one. Those that only touch stay apart. */
export function addRange(ranges: MaskedRange[], added: MaskedRange): void {
  const range = { ...added };
  const later: MaskedRange[] = [];
  for (let last = ranges.at(-1); last && last.end > range.start; last = ranges.at(-1)) {
    ranges.pop();
    if (last.start >= range.end) {
      later.unshift(last);
      continue;
    }
    if (last.longest > range.longest || (last.longest === range.longest && last.start < range.start)) {
      range.secret = last.secret;
      range.longest = last.longest;
    }
    range.start = Math.min(range.start, last.start);
    range.end = Math.max(range.end, last.end);
  }
  ranges.push(range, ...later);
}
