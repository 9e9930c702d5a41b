import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { askForPort } from './ask-for-port.ts';
import { fillerBytes, helloMagic, nonceBytes, readyMagic } from './frames.ts';
import { type GuestChannel, openChannel } from './guest-channel.ts';
import { GuestError } from './guest-error.ts';

const helloIntervalMs = 200;
// The guest sends at most this much of an old session before it answers: its buffer, the port's queue and the VMM's.
const mostLeftoverBytes = 32 * 1024 * 1024;

/**
 * Connects to the guest's agent through the VMM's socket: says hello until it answers, however long that takes within
 * `signal`. Safe at any byte position of a broken predecessor, whose commands are killed. One channel at a time.
 * @param vsockPort of a socket that leads to every port of the guest: this one is asked for first
 * @param isFirst there was no predecessor, so what ends its frames, which takes the guest a moment, is left out
 * @throws GuestError; the signal's reason
 */
export async function connectGuest(
  socketPath: string,
  {
    signal,
    vsockPort,
    isFirst = false,
  }: { signal: AbortSignal; vsockPort?: number | undefined; isFirst?: boolean },
): Promise<GuestChannel> {
  for (;;) {
    const socket = await openSocket(socketPath, signal);
    if (vsockPort !== undefined && !(await askForPort(socket, vsockPort, signal))) {
      // Nobody listens there yet.
      await retryPause(signal);
      continue;
    }
    const nonce = freshNonce();
    const answer = await greet(socket, nonce, isFirst ? 0 : fillerBytes, signal).catch((error: unknown) => {
      socket.destroy();
      throw error;
    });
    if (answer !== undefined) return openChannel(socket, nonce, answer);
    // The VMM closed the connection without a word: not ready, or gone. The caller's signal knows which.
    await retryPause(signal);
  }
}

async function openSocket(socketPath: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    signal.throwIfAborted();
    const socket = connect({ path: socketPath });
    try {
      await once(socket, 'connect', { signal });
      return socket;
    } catch (error) {
      socket.destroy();
      signal.throwIfAborted();
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED' && code !== 'EAGAIN')
        throw new GuestError(`the control socket ${socketPath} cannot be used: ${(error as Error).message}`, {
          cause: error,
        });
    }
    // The VMM has not made it yet, or has not yet noticed that a predecessor hung up.
    await retryPause(signal);
  }
}

/** @throws the signal's reason, where the timer would throw an error of its own */
async function retryPause(signal: AbortSignal): Promise<void> {
  await pause(20, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/** No session begins like a HELLO or with a zero: both are skipped between frames. */
function freshNonce(): Buffer {
  for (;;) {
    const nonce = randomBytes(nonceBytes);
    if (nonce[0] !== 0 && nonce[0] !== helloMagic[0]) return nonce;
  }
}

/** @returns what came after the answer; undefined when the connection ended first */
async function greet(
  socket: Socket,
  nonce: Buffer,
  filler: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const hello = Buffer.concat([helloMagic, nonce]);
  const ready = Buffer.concat([readyMagic, nonce]);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  let seen: Buffer = Buffer.alloc(0);
  let dropped = 0;
  const onData = (bytes: Buffer) => {
    seen = Buffer.concat([seen, bytes]);
    const at = seen.indexOf(ready);
    if (at >= 0) {
      // Paused at once: what follows belongs to the session.
      socket.pause();
      return resolve(seen.subarray(at + ready.length));
    }
    const drop = Math.max(0, seen.length - ready.length + 1);
    dropped += drop;
    seen = seen.subarray(drop);
    if (dropped > mostLeftoverBytes)
      reject(new GuestError(`the VM sent ${dropped} bytes that are no answer to the greeting`));
  };
  const onEnd = () => resolve(undefined);
  const onAbort = () => reject(signal.reason);
  const repeat = setInterval(() => {
    // A guest that still boots reads nothing; what it has not taken is not said again.
    if (socket.writableLength === 0) socket.write(hello);
  }, helloIntervalMs);
  socket.on('data', onData).on('close', onEnd).on('error', onEnd);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) onAbort();
    socket.write(Buffer.concat([Buffer.alloc(filler), hello]));
    return await promise;
  } finally {
    clearInterval(repeat);
    signal.removeEventListener('abort', onAbort);
    socket.off('data', onData).off('close', onEnd);
  }
}
