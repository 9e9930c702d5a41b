import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import {
  encodeFrame,
  guestFrame,
  helloMagic,
  nonceBytes,
  readyMagic,
} from '../../apps/executor/src/runtimes/microvm/channel/frames.ts';

/**
 * A guest without a machine: greets as the agent does, and says to each frame that it is done, or ends the connection.
 * @param said to each frame: `silent` nothing
 */
export async function answeringGuest(
  socketPath: string,
  said: () => 'done' | 'gone' | 'silent',
): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer(async (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const [hello] = (await once(socket, 'data')) as [Buffer];
    const nonce = hello.subarray(hello.indexOf(helloMagic) + helloMagic.length).subarray(0, nonceBytes);
    socket.on('data', (frame: Buffer) => {
      const answer = said();
      if (answer === 'gone') socket.destroy();
      // The number of the stream.
      if (answer === 'done')
        socket.write(encodeFrame(nonce, guestFrame.done, frame.readUInt32LE(12), Buffer.of(1)));
    });
    socket.write(Buffer.concat([readyMagic, nonce]));
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
