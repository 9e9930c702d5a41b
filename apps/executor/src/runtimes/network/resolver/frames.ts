/** A message as it goes over TCP: its length in two bytes comes first. */
export function frame(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

export interface FrameReader {
  /** @returns the messages that these bytes complete */
  take(bytes: Buffer): Buffer[];
}

/** Takes messages out of a stream. Holds at most one that is not complete: 64 KiB. */
export function frameReader(): FrameReader {
  let pending: Buffer = Buffer.alloc(0);
  return {
    take(bytes) {
      pending = Buffer.concat([pending, bytes]);
      const messages: Buffer[] = [];
      for (;;) {
        if (pending.length < 2) return messages;
        const end = 2 + pending.readUInt16BE(0);
        if (pending.length < end) return messages;
        messages.push(pending.subarray(2, end));
        pending = pending.subarray(end);
      }
    },
  };
}
