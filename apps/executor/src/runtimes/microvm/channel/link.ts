import type { Socket } from 'node:net';
import { brokenProtocol, encodeFrame, FrameReader, guestFrame, hostFrame } from './frames.ts';
import { GuestError } from './guest-error.ts';

const pingIntervalMs = 10_000;
// An agent on a machine that is very busy may be slow; one that says nothing for so long is gone or stopped.
const longestSilenceMs = 60_000;

/** What becomes of the frames of one stream. */
export interface StreamHandler {
  /** @throws GuestError for what the guest must not send: the link is closed with it */
  frame(type: number, payload: Buffer): void;
  /** No frame comes any more. */
  closed(error: Error): void;
}

/** One session with the guest's agent: frames to and from streams, until it ends. */
export class Link {
  /** Never rejects. */
  readonly closed: Promise<Error>;
  readonly #resolveClosed: (error: Error) => void;
  readonly #socket: Socket;
  readonly #nonce: Buffer;
  readonly #reader: FrameReader;
  readonly #streams = new Map<number, StreamHandler>();
  #nextStream = 1;
  #endedBecause: Error | undefined;
  #drained: PromiseWithResolvers<void> | undefined;
  #lastHeardMs = performance.now();
  #pings = 0;
  #pongs = 0;
  readonly #pinging: NodeJS.Timeout;

  /** @param received what came behind the answer to the greeting */
  constructor(socket: Socket, nonce: Buffer, received: Buffer) {
    ({ promise: this.closed, resolve: this.#resolveClosed } = Promise.withResolvers<Error>());
    this.#socket = socket;
    this.#nonce = nonce;
    this.#reader = new FrameReader(nonce);
    this.#pinging = setInterval(() => this.#ping(), pingIntervalMs);
    this.#pinging.unref();
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    socket.on('drain', () => this.#resumeWriters());
    const ended = (cause?: NodeJS.ErrnoException) => {
      const how = cause?.code === undefined ? '' : ` (${cause.code})`;
      this.close(new GuestError(`the VM closed the connection${how}: it has ended`, { cause }));
    };
    socket.on('error', ended);
    socket.on('close', () => ended());
    this.#receive(received);
    socket.resume();
  }

  /** @returns the stream's number; released by {@link release} */
  open(handler: StreamHandler): number {
    if (this.#endedBecause !== undefined) throw this.#endedBecause;
    const stream = this.#nextStream;
    this.#nextStream = (this.#nextStream % 0xffff_fffe) + 1;
    this.#streams.set(stream, handler);
    return stream;
  }

  release(stream: number): void {
    this.#streams.delete(stream);
  }

  /** Resolves when more may be sent; at once after the end. */
  async send(type: number, stream: number, payload: Uint8Array = new Uint8Array()): Promise<void> {
    if (this.#endedBecause !== undefined) return;
    if (this.#socket.write(encodeFrame(this.#nonce, type, stream, payload))) return;
    this.#drained ??= Promise.withResolvers<void>();
    await this.#drained.promise;
  }

  close(error: Error): void {
    if (this.#endedBecause !== undefined) return;
    this.#endedBecause = error;
    clearInterval(this.#pinging);
    this.#socket.destroy();
    this.#resumeWriters();
    for (const handler of this.#streams.values()) handler.closed(error);
    this.#streams.clear();
    this.#resolveClosed(error);
  }

  #resumeWriters(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  #receive(bytes: Buffer): void {
    this.#lastHeardMs = performance.now();
    try {
      for (const { type, stream, payload } of this.#reader.push(bytes)) {
        if (this.#endedBecause !== undefined) return;
        if (type === guestFrame.pong) this.#pong(payload);
        else this.#handlerOf(stream).frame(type, payload);
      }
    } catch (error) {
      this.close(error instanceof Error ? error : new GuestError(String(error)));
    }
  }

  #handlerOf(stream: number): StreamHandler {
    const handler = this.#streams.get(stream);
    if (handler === undefined) throw brokenProtocol(`a frame for stream ${stream}, which is not open`);
    return handler;
  }

  #ping(): void {
    const silenceMs = performance.now() - this.#lastHeardMs;
    if (silenceMs > longestSilenceMs) {
      this.close(new GuestError(`the VM's agent has said nothing for ${Math.round(silenceMs / 1000)} s`));
      return;
    }
    this.#pings += 1;
    void this.send(hostFrame.ping, 0);
  }

  #pong(payload: Buffer): void {
    this.#pongs += 1;
    if (payload.length > 0 || this.#pongs > this.#pings) throw brokenProtocol('an answer to no question');
  }
}
