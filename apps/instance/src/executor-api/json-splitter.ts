/** A body that is not what the protocol says; `message` is the reason, for the caller. */
export class MalformedJson extends Error {
  override readonly name = 'MalformedJson';
}

/** All but the extracted string is longer than allowed. */
export class RestTooLarge extends Error {
  override readonly name = 'RestTooLarge';
}

/** Takes the bytes of the extracted string in order. */
export interface StringSink {
  write(bytes: Buffer): void;
  /** The key came again: what was written so far does not count. */
  reset(): void;
}

/** Deeper nesting has no place in this protocol, and would let small bodies exhaust recursive readers. */
export const maxDepth = 64;
const maxKeyBytes = 64;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const replacementCharacter = 0xfffd;

/**
 * Splits a JSON object while it streams in: the string under one key of the outermost object goes to `sink` as the
 * bytes it stands for, everything else is kept (with `null` in its place), to be parsed as usual. So a body of
 * hundreds of MiB costs the memory of its small part. Only strings and nesting are tracked here; what is left is
 * checked by `JSON.parse`, and whatever is broken around the extracted string breaks the rest as well.
 *
 * The key matches without regard to case, an exact match wins, and of equal matches the last one.
 * Unpaired surrogates become U+FFFD; bytes that are not UTF-8 are passed on as they are.
 */
export class JsonSplitter {
  private readonly key: string | undefined;
  private readonly sink: StringSink;
  private readonly maxRestBytes: number;
  private readonly rest: Buffer[] = [];
  private restBytes = 0;
  private depth = 0;
  private place: 'outside' | 'string' | 'value' = 'outside';
  /** Inside a string, after a backslash. */
  private escaped = false;
  /** The hex digits read of a `\u` escape of the value; undefined outside one. */
  private hex: string | undefined;
  /** A first half of a surrogate pair that waits for its second. */
  private highSurrogate = 0;
  private expectsKey = false;
  private afterColon = false;
  /** The raw text of the key being read, or read last, while it is short enough to match. */
  private keyBytes: number[] | undefined;
  private matched: 'no' | 'folded' | 'exact' = 'no';

  /** @param key undefined: nothing is extracted, only nesting and size are limited */
  constructor(options: { key?: string; sink: StringSink; maxRestBytes: number }) {
    this.key = options.key;
    this.sink = options.sink;
    this.maxRestBytes = options.maxRestBytes;
  }

  /** @throws MalformedJson, RestTooLarge */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length)
      at = this.place === 'value' ? this.readValue(chunk, at) : this.readRest(chunk, at);
  }

  /**
   * The body without the extracted string, parsed.
   * @throws MalformedJson
   */
  end(): unknown {
    if (this.restBytes === 0) throw new MalformedJson('EOF');
    if (this.place === 'value') throw new MalformedJson('unexpected end of the body inside a string');
    try {
      return JSON.parse(Buffer.concat(this.rest).toString('utf8'));
    } catch (error) {
      throw new MalformedJson(error instanceof Error ? error.message : String(error));
    }
  }

  private readRest(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (this.place === 'string') {
        this.readStringByte(byte);
        // To the end of the string, or to its next backslash; keys are short, and matter byte by byte.
        if (this.keyBytes || this.escaped || this.place !== 'string') continue;
        let next = chunk[at + 1] ?? quote;
        while (next !== quote && next !== backslash) {
          at++;
          next = chunk[at + 1] ?? quote;
        }
      } else if (byte === quote) {
        if (this.startsValue()) {
          this.keep(chunk.subarray(from, at));
          this.keep(Buffer.from('null'));
          this.sink.reset();
          this.place = 'value';
          return at + 1;
        }
        this.place = 'string';
        this.keyBytes = this.depth === 1 && this.expectsKey ? [] : undefined;
        this.afterColon = false;
      } else {
        this.readStructure(byte);
      }
    }
    this.keep(chunk.subarray(from));
    return chunk.length;
  }

  private readStringByte(byte: number): void {
    if (this.escaped) this.escaped = false;
    else if (byte === backslash) this.escaped = true;
    else if (byte === quote) {
      this.place = 'outside';
      return;
    }
    if (this.keyBytes && this.keyBytes.push(byte) > maxKeyBytes) this.keyBytes = undefined;
  }

  private readStructure(byte: number): void {
    switch (byte) {
      case openBrace:
      case openBracket:
        this.depth++;
        if (this.depth > maxDepth) throw new MalformedJson(`nested deeper than ${maxDepth} levels`);
        this.expectsKey = this.depth === 1 && byte === openBrace;
        this.afterColon = false;
        break;
      case closeBrace:
      case closeBracket:
        this.depth--;
        this.expectsKey = false;
        this.afterColon = false;
        break;
      case comma:
        // After a nested array or object this is again the outermost object's comma.
        this.expectsKey = this.depth === 1;
        this.afterColon = false;
        break;
      case colon:
        if (this.depth === 1) {
          this.afterColon = this.expectsKey;
          this.expectsKey = false;
        }
        break;
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
        break;
      default:
        this.afterColon = false;
    }
  }

  /** Whether a quote at this place opens the string that is to be extracted. */
  private startsValue(): boolean {
    if (this.key === undefined || this.depth !== 1 || !this.afterColon || !this.keyBytes) return false;
    let name: unknown;
    try {
      name = JSON.parse(`"${Buffer.from(this.keyBytes).toString('utf8')}"`);
    } catch {
      // Not a string at all; the rest will not parse either, and says so.
      return false;
    }
    if (typeof name !== 'string' || name.toLowerCase() !== this.key) return false;
    const match = name === this.key ? 'exact' : 'folded';
    if (match === 'folded' && this.matched === 'exact') return false;
    this.matched = match;
    this.afterColon = false;
    return true;
  }

  private keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.restBytes += bytes.length;
    if (this.restBytes > this.maxRestBytes) throw new RestTooLarge();
    // A copy: a small remainder must not keep the whole chunk alive.
    this.rest.push(Buffer.from(bytes));
  }

  /** Decodes into one buffer per chunk: what a JSON string stands for is never longer than its source. */
  private readValue(chunk: Buffer, from: number): number {
    const decoded = Buffer.allocUnsafe(chunk.length - from + 8);
    let length = 0;
    let at = from;
    for (; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (this.hex !== undefined) {
        length = this.readHexDigit(byte, decoded, length);
        continue;
      }
      if (this.escaped) {
        this.escaped = false;
        if (byte === 0x75) {
          this.hex = '';
          continue;
        }
        length = this.dropHighSurrogate(decoded, length);
        decoded[length++] = escapedByte(byte);
        continue;
      }
      if (byte === backslash) {
        this.escaped = true;
        continue;
      }
      if (this.highSurrogate !== 0) length = this.dropHighSurrogate(decoded, length);
      if (byte === quote) {
        this.place = 'outside';
        at++;
        break;
      }
      if (byte < 0x20) throw new MalformedJson('control character in a string');
      decoded[length++] = byte;
      // Nearly all bytes stand for themselves; this loop is what the speed of large bodies depends on.
      let next = chunk[at + 1] ?? quote;
      while (next >= 0x20 && next !== quote && next !== backslash) {
        decoded[length++] = next;
        at++;
        next = chunk[at + 1] ?? quote;
      }
    }
    if (length > 0) this.sink.write(decoded.subarray(0, length));
    return at;
  }

  private readHexDigit(byte: number, decoded: Buffer, length: number): number {
    const digits = (this.hex ?? '') + String.fromCharCode(byte);
    if (!/^[0-9a-fA-F]+$/.test(digits)) throw new MalformedJson('bad \\u escape in a string');
    this.hex = digits;
    if (digits.length < 4) return length;
    this.hex = undefined;
    const unit = Number.parseInt(digits, 16);
    if (unit >= 0xdc00 && unit < 0xe000 && this.highSurrogate !== 0) {
      const point = 0x10000 + ((this.highSurrogate - 0xd800) << 10) + (unit - 0xdc00);
      this.highSurrogate = 0;
      return writeCodePoint(point, decoded, length);
    }
    const next = this.dropHighSurrogate(decoded, length);
    if (unit >= 0xd800 && unit < 0xdc00) {
      this.highSurrogate = unit;
      return next;
    }
    return writeCodePoint(unit >= 0xdc00 && unit < 0xe000 ? replacementCharacter : unit, decoded, next);
  }

  private dropHighSurrogate(decoded: Buffer, length: number): number {
    if (this.highSurrogate === 0) return length;
    this.highSurrogate = 0;
    return writeCodePoint(replacementCharacter, decoded, length);
  }
}

function escapedByte(byte: number): number {
  switch (byte) {
    case quote:
    case backslash:
    case 0x2f:
      return byte;
    case 0x62:
      return 0x08;
    case 0x66:
      return 0x0c;
    case 0x6e:
      return 0x0a;
    case 0x72:
      return 0x0d;
    case 0x74:
      return 0x09;
    default:
      throw new MalformedJson('bad escape in a string');
  }
}

/** @returns the length of `decoded` after the character */
function writeCodePoint(point: number, decoded: Buffer, length: number): number {
  if (point < 0x80) {
    decoded[length] = point;
    return length + 1;
  }
  return length + decoded.write(String.fromCodePoint(point), length, 'utf8');
}
