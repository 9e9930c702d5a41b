import type { Socket } from 'node:net';

/** `OK`, a number of 32 bits, and the end of the line. */
const longestAnswer = 16;

/**
 * Says on a socket that stands for all ports of a guest's vsock which one is meant. What comes after the answer is left for others.
 * @returns whether somebody listens there; otherwise the socket is closed
 * @throws the signal's reason
 */
export async function askForPort(socket: Socket, port: number, signal: AbortSignal): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  let answer = '';
  const onReadable = (): void => {
    // A byte at a time: all but the line belongs to the session.
    for (let byte = socket.read(1); byte !== null; byte = socket.read(1)) {
      answer += Buffer.from(byte).toString('latin1');
      if (!answer.endsWith('\n') && answer.length < longestAnswer) continue;
      resolve(/^OK \d+\n$/.test(answer));
      break;
    }
  };
  const onEnd = (): void => resolve(false);
  const onAbort = (): void => reject(signal.reason);
  socket.on('readable', onReadable).on('close', onEnd).on('error', onEnd);
  signal.addEventListener('abort', onAbort, { once: true });
  let isOpen = false;
  try {
    if (signal.aborted) onAbort();
    socket.write(`CONNECT ${port}\n`);
    isOpen = await promise;
    return isOpen;
  } finally {
    socket.off('readable', onReadable).off('close', onEnd);
    if (isOpen) socket.off('error', onEnd);
    else socket.destroy();
    signal.removeEventListener('abort', onAbort);
  }
}
