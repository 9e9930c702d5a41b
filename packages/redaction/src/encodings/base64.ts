/** A value inside base64 text, wherever it begins in what was encoded. */
export interface Base64Form {
  /** The characters that the value alone determines. */
  text: string;
  /** The characters that may precede `text`; empty where the value begins on a 3-byte boundary. */
  leadBytes: Uint8Array;
}

const standardAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const urlAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/**
 * The value in base64 after 0, 1 and 2 other bytes, in both alphabets. Characters that mix bits of the value with bits
 * of its neighbours are no part of the text: the one before is one of `leadBytes`, the one after is any of the
 * alphabet. Both hold up to 4 bits of the value, so whoever masks the text masks them too.
 */
export function base64Forms(value: Uint8Array): Base64Form[] {
  return [0, 1, 2].flatMap((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), value]).toString('base64');
    const first = Math.ceil((shift * 8) / 6);
    const end = Math.floor(((shift + value.length) * 8) / 6);
    const text = encoded.slice(first, end);
    const forms = [{ text, leadBytes: leadBytes(value, shift, standardAlphabet) }];
    const urlText = text.replaceAll('+', '-').replaceAll('/', '_');
    // Also when the text is the same: the characters before it may differ.
    forms.push({ text: urlText, leadBytes: leadBytes(value, shift, urlAlphabet) });
    return forms;
  });
}

function leadBytes(value: Uint8Array, shift: number, alphabet: string): Uint8Array {
  if (shift === 0) return new Uint8Array();
  // After 1 byte the character before `text` ends in 4 bits of the value, after 2 bytes in 2.
  const knownBits = shift === 1 ? 4 : 2;
  const known = (value[0] ?? 0) >> (8 - knownBits);
  const characters = [...alphabet].filter((_, sextet) => (sextet & ((1 << knownBits) - 1)) === known);
  return Buffer.from(characters.join(''));
}

/** Whether a byte is a character of base64 in either alphabet; padding is not. */
export function isBase64Byte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x2b ||
    byte === 0x2f ||
    byte === 0x2d ||
    byte === 0x5f
  );
}
