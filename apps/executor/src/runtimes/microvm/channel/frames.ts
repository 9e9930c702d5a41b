import { GuestError } from './guest-error.ts';

// The control protocol. The other end is guest/files/agent.pl; both are of one build, so there are no versions.
//
// The byte stream (a virtio port, or vsock) has no boundary between connections: a host that connects anew finds the
// guest in the middle of what its predecessor sent, and receives the rest of what the guest sent to that. So:
//   host:  filler of zeros longer than any frame, then HELLO with a nonce, the HELLO again until it is answered
//   guest: drops what does not belong to a session until a HELLO; READY with that nonce; both then speak in frames
// A frame: session (8 bytes, the nonce's first half), length of the payload (u32), stream (u32), type (u8), payload,
// trailer (8 bytes, the nonce's second half). Numbers are little-endian. A frame that filler has completed lacks its
// trailer, so it is never obeyed. Between frames of the host, zeros and the HELLO of this very session are skipped.
//
// Flow control: each command's output (both streams together) and each file may be sent by the guest as far as the host
// has given credit; input likewise, the other way, beginning with `initialInputCredit`. So nobody who reads slowly
// holds up others, and neither end ever buffers more than that.

export const helloMagic = Buffer.from('KILN>hello>v1>\r\n', 'latin1');
export const readyMagic = Buffer.from('KILN<ready<v1<\r\n', 'latin1');
export const nonceBytes = 16;
const headerBytes = 17;
const trailerBytes = 8;
/** Of a frame's payload, host to guest: arguments and environment of a command are one. */
export const maxHostPayload = 128 * 1024;
/** Of a frame's payload, guest to host. */
export const maxGuestPayload = 64 * 1024;
export const fillerBytes = maxHostPayload + headerBytes + trailerBytes;
export const outputWindow = 1024 * 1024;
/** What a frame of output costs beside its bytes, so that a million frames of one byte are no way around the window. */
export const outputFrameCost = 64;
export const initialInputCredit = 256 * 1024;

export const hostFrame = {
  exec: 1,
  input: 2,
  inputEnd: 3,
  signal: 4,
  credit: 5,
  resize: 6,
  read: 7,
  write: 8,
  renew: 9,
  ping: 10,
} as const;

export const guestFrame = {
  started: 65,
  failed: 66,
  output: 67,
  errorOutput: 68,
  exit: 69,
  inputCredit: 70,
  done: 71,
  pong: 72,
} as const;
const guestTypes: ReadonlySet<number> = new Set(Object.values(guestFrame));

export interface Frame {
  type: number;
  stream: number;
  payload: Buffer;
}

export function encodeFrame(nonce: Buffer, type: number, stream: number, payload: Uint8Array): Buffer {
  if (payload.length > maxHostPayload)
    throw new GuestError(`${payload.length} bytes are more than fit into one frame (${maxHostPayload})`);
  const frame = Buffer.allocUnsafe(headerBytes + payload.length + trailerBytes);
  nonce.copy(frame, 0, 0, 8);
  frame.writeUInt32LE(payload.length, 8);
  frame.writeUInt32LE(stream, 12);
  frame.writeUInt8(type, 16);
  frame.set(payload, headerBytes);
  nonce.copy(frame, headerBytes + payload.length, 8, nonceBytes);
  return frame;
}

/** Takes the bytes of one session as they come and gives the frames in them. Holds less than one frame. */
export class FrameReader {
  readonly #session: Buffer;
  readonly #trailer: Buffer;
  #rest: Buffer = Buffer.alloc(0);

  constructor(nonce: Buffer) {
    this.#session = nonce.subarray(0, 8);
    this.#trailer = nonce.subarray(8, nonceBytes);
  }

  /** @throws GuestError as soon as what came cannot be the guest's protocol */
  *push(bytes: Buffer): Generator<Frame> {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    for (;;) {
      const left = all.length - at;
      // Also of a part of the header: what is wrong is not waited for.
      const known = Math.min(left, 8);
      if (all.compare(this.#session, 0, known, at, at + known) !== 0)
        throw brokenProtocol('a frame of another session');
      if (left < headerBytes) break;
      const length = all.readUInt32LE(at + 8);
      const type = all.readUInt8(at + 16);
      if (length > maxGuestPayload) throw brokenProtocol(`a frame of ${length} bytes`);
      if (!guestTypes.has(type)) throw brokenProtocol(`a frame of type ${type}`);
      if (left < headerBytes + length + trailerBytes) break;
      const end = at + headerBytes + length;
      if (all.compare(this.#trailer, 0, trailerBytes, end, end + trailerBytes) !== 0)
        throw brokenProtocol('a frame without its end');
      yield {
        type,
        stream: all.readUInt32LE(at + 12),
        payload: all.subarray(at + headerBytes, end),
      };
      at = end + trailerBytes;
    }
    this.#rest = Buffer.from(all.subarray(at));
  }
}

export function brokenProtocol(what: string): GuestError {
  return new GuestError(`the VM broke the control protocol: ${what}`);
}
