/** One line of git's protocol: its length as four hex digits, itself included, then the text. */
export function pktLine(text: string): string {
  return (Buffer.byteLength(text) + 4).toString(16).padStart(4, '0') + text;
}

export const flushPacket = '0000';

/**
 * The objects that an `upload-pack` request asks for (protocol 0, 1 and 2), at most `limit` different ones. Reads no
 * further than a malformed line: what such a request deserves is git's to say.
 */
export function readWants(body: Buffer, limit: number): string[] {
  const wants = new Set<string>();
  let at = 0;
  while (at + 4 <= body.length && wants.size < limit) {
    const digits = body.toString('latin1', at, at + 4);
    if (!/^[0-9a-f]{4}$/i.test(digits)) break;
    const length = Number.parseInt(digits, 16);
    // 0 to 2 are the flush, delimiter and end packets, which have no text.
    if (length < 4) {
      at += 4;
      continue;
    }
    const line = body.toString('latin1', at + 4, Math.min(at + length, at + 60));
    const id = /^want ([0-9a-f]{40})(?:\s|$)/.exec(line)?.[1];
    if (id !== undefined) wants.add(id);
    at += length;
  }
  return [...wants];
}
