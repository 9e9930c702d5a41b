/** Bytes that come in chunks of any size, read in the sizes that a format needs. */
export interface ByteSource {
  /** How many bytes have been read. */
  readonly position: number;
  /** Up to `most` bytes, at least one; empty at the end. */
  some(most: number): Promise<Buffer>;
  /** Undefined when the source ends right before them. */
  exactly(length: number): Promise<Buffer | undefined>;
  /** The next `length` bytes as they come. */
  run(length: number): AsyncGenerator<Buffer, void>;
  /** Lets go of the source before its end. */
  end(): Promise<void>;
}

/** @param endsEarly what is thrown where the source ends in the middle of something */
export function byteSource(source: AsyncIterable<Buffer>, endsEarly: () => Error): ByteSource {
  const chunks = source[Symbol.asyncIterator]();
  let buffered: Buffer = Buffer.alloc(0);
  let position = 0;

  async function some(most: number): Promise<Buffer> {
    while (buffered.length === 0) {
      const chunk = await chunks.next();
      if (chunk.done) return buffered;
      buffered = chunk.value;
    }
    const part = buffered.subarray(0, most);
    buffered = buffered.subarray(part.length);
    position += part.length;
    return part;
  }

  return {
    get position() {
      return position;
    },
    some,
    async exactly(length) {
      const parts: Buffer[] = [];
      for (let have = 0; have < length; ) {
        const part = await some(length - have);
        if (part.length === 0) {
          if (have === 0) return undefined;
          throw endsEarly();
        }
        parts.push(part);
        have += part.length;
      }
      return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, length);
    },
    async *run(length) {
      for (let left = length; left > 0; ) {
        const part = await some(left);
        if (part.length === 0) throw endsEarly();
        left -= part.length;
        yield part;
      }
    },
    async end() {
      await chunks.return?.();
    },
  };
}
