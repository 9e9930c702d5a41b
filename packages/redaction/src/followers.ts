import { type Automaton, childOf } from './automaton.ts';
import { isBase64Byte } from './encodings/base64.ts';
import type { Pattern } from './patterns.ts';
import { addRange, type MaskedRange } from './ranges.ts';

/**
 * Something found that goes on past where the automaton saw it. `start` to `at` is what it holds of the current line;
 * a follower that lives on when the bytes end is resumed with the next ones.
 * - `tail`: bytes after a match that belong to it (the unindexed rest of a long form; the last bits of base64)
 * - `wrap`: the beginning of a base64 or hex form at the end of a line; its rest may begin the next line
 */
export type Follower = Tail | Wrap;
interface Place {
  start: number;
  at: number;
  betweenLines: boolean;
}
interface Tail extends Place {
  kind: 'tail';
  pattern: Pattern;
  remaining: number;
  padding: number;
}
interface Wrap extends Place {
  kind: 'wrap';
  state: number;
}

/**
 * A form's beginning of this many bytes at the end of a line is masked; less says little and is often chance. With hex
 * the bound is higher, because a number at the end of a line may well be the beginning of a hex form: 5 masked some of
 * the numbers up to 100,000.
 */
const minWrappedBytes = { any: 5, base64: 5, hex: 8 } as const;
/** Only a value that repeats itself could have begun in more places than this at the end of one line. */
const maxWraps = 16;

/** What belongs to a match of `pattern` that ended before `at`, or undefined where nothing can. */
export function tailOf(pattern: Pattern, at: number): Tail | undefined {
  // One more base64 character may hold the value's last bits, and padding would tell its length.
  const base64 = pattern.alphabet === 'base64';
  const remaining = pattern.unindexedBytes + (base64 ? 1 : 0);
  if (remaining === 0) return undefined;
  // It starts on the match's last byte, so that both become one range.
  return {
    kind: 'tail',
    start: at - 1,
    at,
    betweenLines: false,
    pattern,
    remaining,
    padding: base64 ? 2 : 0,
  };
}

/** Every way in which a line that ended in `state`, before `at`, may go on as wrapped text. Masks the beginning. */
export function wrapsOf(automaton: Automaton, state: number, at: number, ranges: MaskedRange[]): Wrap[] {
  const wraps: Wrap[] = [];
  for (let link = state; link !== 0 && wraps.length < maxWraps; link = automaton.failure[link] ?? 0) {
    if ((automaton.wrappableAt[link] ?? -1) < 0) continue;
    const wrap: Wrap = {
      kind: 'wrap',
      start: at - (automaton.depth[link] ?? 0),
      at,
      betweenLines: false,
      state: link,
    };
    if (wraps.length === 0) maskBeginning(wrap, automaton, ranges);
    wraps.push({ ...wrap, start: at, betweenLines: true });
  }
  return wraps;
}

/**
 * Goes on through `bytes`, adds what it masks to `ranges` and what it finds to `found`.
 * @returns whether it must be resumed with the next bytes
 */
export function advance(
  follower: Follower,
  automaton: Automaton,
  bytes: Uint8Array,
  ranges: MaskedRange[],
  found: Follower[],
): boolean {
  return follower.kind === 'tail'
    ? advanceTail(follower, bytes, ranges)
    : advanceWrap(follower, automaton, bytes, ranges, found);
}

/** Adds a follower to those that are resumed; of tails of one pattern at one place only the longest matters. */
export function keep(followers: Follower[], added: Follower): void {
  const same = followers.find(
    (other) =>
      other.at === added.at &&
      (other.kind === 'tail'
        ? added.kind === 'tail' && other.pattern === added.pattern
        : added.kind === 'wrap' && other.state === added.state && other.start === added.start),
  );
  if (!same) followers.push(added);
  else if (same.kind === 'tail' && added.kind === 'tail') {
    same.remaining = Math.max(same.remaining, added.remaining);
    same.padding = Math.max(same.padding, added.padding);
    same.start = Math.min(same.start, added.start);
  }
}

function advanceTail(tail: Tail, bytes: Uint8Array, ranges: MaskedRange[]): boolean {
  skipMasked(tail, ranges);
  for (; tail.at < bytes.length && tail.remaining + tail.padding > 0; tail.at++) {
    const byte = bytes[tail.at] ?? 0;
    if (isBetweenLines(byte, tail)) {
      // The last bits alone are not looked for on the next line: they would cost a benign character there.
      if (tail.pattern.alphabet === 'any' || tail.remaining <= 1) break;
      maskTail(tail, ranges);
      tail.betweenLines = true;
      tail.start = tail.at + 1;
      continue;
    }
    if (tail.remaining > 0 && belongsTo(tail.pattern.alphabet, byte)) tail.remaining--;
    else if (tail.padding > 0 && byte === 0x3d) {
      tail.remaining = 0;
      tail.padding--;
    } else break;
    tail.betweenLines = false;
  }
  maskTail(tail, ranges);
  if (tail.at < bytes.length || tail.remaining + tail.padding === 0) return false;
  if (!tail.betweenLines) tail.start = tail.at - 1;
  return true;
}

/** What an earlier tail has masked is not walked again; else a value that repeats itself would cost its length per byte. */
function skipMasked(tail: Tail, ranges: MaskedRange[]): void {
  const last = ranges.at(-1);
  if (!last || last.start > tail.start || last.end <= tail.at) return;
  const skipped = Math.min(last.end - tail.at, tail.remaining);
  tail.at += skipped;
  tail.remaining -= skipped;
}

function maskTail(tail: Tail, ranges: MaskedRange[]): void {
  if (tail.at === tail.start) return;
  addRange(ranges, { start: tail.start, end: tail.at, secret: tail.pattern.secret, longest: 1 });
}

function advanceWrap(
  wrap: Wrap,
  automaton: Automaton,
  bytes: Uint8Array,
  ranges: MaskedRange[],
  found: Follower[],
): boolean {
  for (; wrap.at < bytes.length; wrap.at++) {
    const byte = bytes[wrap.at] ?? 0;
    if (isBetweenLines(byte, wrap)) {
      if (!wrap.betweenLines) maskBeginning(wrap, automaton, ranges);
      wrap.betweenLines = true;
      wrap.start = wrap.at + 1;
      continue;
    }
    const child = childOf(automaton, wrap.state, byte);
    if (child === 0 || (automaton.wrappableAt[child] ?? -1) < 0) return false;
    wrap.state = child;
    wrap.betweenLines = false;
    const pattern = automaton.patterns[automaton.patternAt[child] ?? -1];
    if (!pattern || pattern.wholeWord) continue;
    const end = wrap.at + 1;
    addRange(ranges, { start: wrap.start, end, secret: pattern.secret, longest: pattern.bytes.length });
    const tail = tailOf(pattern, end);
    if (tail) found.push(tail);
  }
  return true;
}

/** Masks the part of a form that stands at the end of a line. */
function maskBeginning(wrap: Wrap, automaton: Automaton, ranges: MaskedRange[]): void {
  const longest = automaton.depth[wrap.state] ?? 0;
  const pattern = automaton.patterns[automaton.wrappableAt[wrap.state] ?? -1];
  if (!pattern || longest < minWrappedBytes[pattern.alphabet]) return;
  addRange(ranges, { start: wrap.start, end: wrap.at, secret: pattern.secret, longest });
}

/** Line ends, and the indentation of a line that goes on. */
function isBetweenLines(byte: number, place: Place): boolean {
  return byte === 0x0a || byte === 0x0d || (place.betweenLines && (byte === 0x20 || byte === 0x09));
}

function belongsTo(alphabet: Pattern['alphabet'], byte: number): boolean {
  if (alphabet === 'any') return true;
  if (alphabet === 'base64') return isBase64Byte(byte);
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
}
