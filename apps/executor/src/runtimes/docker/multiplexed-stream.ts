export interface OutputPiece {
  stream: 'stdout' | 'stderr';
  bytes: Uint8Array;
}

const headerBytes = 8;

/**
 * Reads the framing of Docker's attach stream: each frame is one byte of stream number (1 stdout, 2 stderr), three zero
 * bytes, a big-endian length and that many bytes. Payload is passed on as it comes, so that a frame of any length takes
 * no memory; only an incomplete header is kept.
 * @returns a function to call with each chunk
 * @throws RangeError for a stream that is not framed so
 */
export function outputReader(): (chunk: Uint8Array) => OutputPiece[] {
  const header = new Uint8Array(headerBytes);
  let headerLength = 0;
  let stream: OutputPiece['stream'] = 'stdout';
  let remaining = 0;

  return (chunk) => {
    const pieces: OutputPiece[] = [];
    let offset = 0;
    while (offset < chunk.length) {
      if (remaining > 0) {
        const bytes = chunk.subarray(offset, offset + remaining);
        pieces.push({ stream, bytes });
        remaining -= bytes.length;
        offset += bytes.length;
        continue;
      }
      const part = chunk.subarray(offset, offset + headerBytes - headerLength);
      header.set(part, headerLength);
      headerLength += part.length;
      offset += part.length;
      if (headerLength < headerBytes) break;
      headerLength = 0;
      stream = streamOf(header);
      remaining = new DataView(header.buffer).getUint32(4);
    }
    return pieces;
  };
}

function streamOf(header: Uint8Array): OutputPiece['stream'] {
  if (header[1] === 0 && header[2] === 0 && header[3] === 0) {
    if (header[0] === 1) return 'stdout';
    if (header[0] === 2) return 'stderr';
  }
  throw new RangeError(`Docker's output stream holds a frame of an unknown kind (${header[0]})`);
}
