import { base64Forms } from './encodings/base64.ts';
import { jsonForms } from './encodings/json.ts';
import { markupForms } from './encodings/markup.ts';
import { reversedForms } from './encodings/reversed.ts';
import { shellForms } from './encodings/shell.ts';
import { urlForms } from './encodings/url.ts';

/** Values shorter than this are matched as whole words only: as substrings they would mask half of a log. */
const minSubstringBytes = 6;
/** Fewer letters and digits than this in a line of a multi-line value say nothing (`{`, `},`, `--`). */
const minLineWordBytes = 3;
/** Shorter values are looked for as they are only: encoded, they turn up by chance (`a` is `61` in hex). */
const minEncodedBytes = 3;
/** No more of a form than this is indexed; see {@link Pattern.unindexedBytes}. */
const maxIndexedBytes = 4096;

/** One byte sequence that gives a secret away. Never holds CR or LF: matching is by line, so complete lines need not wait. */
export interface Pattern {
  /** Which secret, as its index. */
  secret: number;
  /** What to find; never empty. */
  bytes: Uint8Array;
  /**
   * How many bytes of the form follow `bytes`. When `bytes` was found they are masked unseen, up to the end of the line;
   * of forms that begin alike the longest counts.
   */
  unindexedBytes: number;
  /** Only where neither neighbour is a letter, a digit, `_` or not ASCII. */
  wholeWord: boolean;
  /** Encoders wrap these forms into lines; what follows a form in its alphabet may hold its last bits. */
  alphabet: 'any' | 'base64' | 'hex';
  /** Bytes before the form that hold its first bits (base64 of a value that does not begin on a 3-byte boundary). */
  leadBytes: Uint8Array;
}

/**
 * Every form of every secret: raw, base64 in its three alignments (standard and URL alphabet), hex in both cases,
 * URL-, JSON-, markup- and shell-escaped as common programs do it, reversed. White space around a value is no part
 * of the secret. A form with line ends counts as one form per line. Forms are unique; the raw ones come first.
 */
export function patternsOfSecrets(values: readonly string[]): Pattern[] {
  const found = new Map<string, Pattern>();
  const add = (pattern: Pattern) => {
    const key = Buffer.from(pattern.bytes).toString('latin1');
    const known = found.get(key);
    if (known) combine(known, pattern);
    else found.set(key, pattern);
  };
  const trimmed = values.map((value) => value.trim());
  for (const [secret, value] of trimmed.entries()) addLines(add, secret, value, isShort(value));
  for (const [secret, value] of trimmed.entries()) if (value !== '') addForms(add, secret, value);
  return [...found.values()];
}

/** The same bytes as a form of two secrets, or as two forms of one: the looser rules keep both safe. */
function combine(known: Pattern, other: Pattern): void {
  known.wholeWord &&= other.wholeWord;
  known.unindexedBytes = Math.max(known.unindexedBytes, other.unindexedBytes);
  if (known.alphabet === 'any') known.alphabet = other.alphabet;
  known.leadBytes = Uint8Array.from(new Set([...known.leadBytes, ...other.leadBytes]));
}

type Add = (pattern: Pattern) => void;

function addForms(add: Add, secret: number, value: string): void {
  const bytes = Buffer.from(value, 'utf8');
  if (bytes.length < minEncodedBytes) return;
  const wholeWord = isShort(value);
  const escaped = [...urlForms(value), ...jsonForms(value), ...markupForms(value), ...shellForms(value)];
  for (const form of new Set(escaped)) {
    addLines(add, secret, form, wholeWord);
  }
  const hex = bytes.toString('hex');
  for (const form of [hex, hex.toUpperCase()]) {
    add(pattern(secret, Buffer.from(form), { wholeWord, alphabet: 'hex' }));
  }
  if (wholeWord) {
    for (const form of [bytes.toString('base64'), bytes.toString('base64url')]) {
      add(pattern(secret, Buffer.from(form), { wholeWord }));
    }
    return;
  }
  for (const form of base64Forms(bytes)) {
    add(pattern(secret, Buffer.from(form.text), { alphabet: 'base64', leadBytes: form.leadBytes }));
  }
  for (const form of reversedForms(bytes)) addLines(add, secret, form, false);
}

function isShort(value: string): boolean {
  return Buffer.byteLength(value) < minSubstringBytes;
}

function addLines(add: Add, secret: number, form: string | Uint8Array, short: boolean): void {
  // Latin-1 keeps bytes as they are while they are split and trimmed.
  const text = Buffer.from(form).toString('latin1');
  const lines = text.split(/[\r\n]+/);
  for (const line of lines) {
    const bytes = Buffer.from(line.replace(/^[ \t]+|[ \t]+$/g, ''), 'latin1');
    const wholeWord = short || bytes.length < minSubstringBytes;
    if (bytes.length === 0) continue;
    if (wholeWord && lines.length > 1 && countWordBytes(bytes) < minLineWordBytes) continue;
    add(pattern(secret, bytes, { wholeWord }));
  }
}

function pattern(secret: number, form: Uint8Array, more: Partial<Pattern>): Pattern {
  // A copy, so that the rest of a long form is not kept alive.
  const bytes = form.length > maxIndexedBytes ? Uint8Array.from(form.subarray(0, maxIndexedBytes)) : form;
  return {
    secret,
    bytes,
    unindexedBytes: form.length - bytes.length,
    wholeWord: false,
    alphabet: 'any',
    leadBytes: new Uint8Array(),
    ...more,
  };
}

function countWordBytes(bytes: Uint8Array): number {
  return bytes.filter(isWordByte).length;
}

/** A letter, a digit, `_`, or part of a character outside ASCII. */
export function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x5f ||
    byte >= 0x80
  );
}
