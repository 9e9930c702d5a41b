/** How a file in LZ4's older form begins, which is that of packed kernels. */
export const lz4Magic = Buffer.from([0x02, 0x21, 0x4c, 0x18]);

const leastMatch = 4;

/**
 * Unpacks LZ4's older form: the magic, then blocks, each behind its length. Blocks are sequences of literal bytes and of references to
 * bytes that were unpacked before.
 * @param length of what is in it
 * @throws RangeError when it is not of that form, or holds anything else than so many bytes
 */
export function unpackLz4(packed: Buffer, length: number): Buffer {
  const output = Buffer.alloc(length);
  let written = 0;
  for (let at = lz4Magic.length; at < packed.length; ) {
    const end = at + 4 + packed.readUInt32LE(at);
    if (end > packed.length) throw new RangeError('an LZ4 block is cut off');
    written = unpackBlock(packed.subarray(at + 4, end), output, written);
    at = end;
  }
  if (written !== length) throw new RangeError(`LZ4 holds ${written} bytes and not ${length}`);
  return output;
}

/** @returns where the output ends now */
function unpackBlock(block: Buffer, output: Buffer, begin: number): number {
  let [at, written] = [0, begin];

  /** Lengths of 15 and more go on in bytes, of which the last is not 255. */
  function lengthFrom(nibble: number): number {
    let length = nibble;
    for (let more = nibble === 15 ? 255 : 0; more === 255; length += more) {
      more = block.readUInt8(at);
      at += 1;
    }
    return length;
  }

  while (at < block.length) {
    const token = block.readUInt8(at);
    at += 1;
    const literals = lengthFrom(token >> 4);
    if (at + literals > block.length || written + literals > output.length)
      throw new RangeError('LZ4 literals go beyond the end');
    block.copy(output, written, at, at + literals);
    at += literals;
    written += literals;
    // The last sequence has no reference.
    if (at === block.length) break;
    const distance = block.readUInt16LE(at);
    at += 2;
    const match = lengthFrom(token & 15) + leastMatch;
    const from = written - distance;
    if (distance === 0 || from < begin || written + match > output.length)
      throw new RangeError('an LZ4 reference leads nowhere');
    // They may overlap: what is just written is read again.
    for (let index = 0; index < match; index++) output[written + index] = output[from + index] ?? 0;
    written += match;
  }
  return written;
}
