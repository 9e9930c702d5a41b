import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

/** Passes connections on to an instance, and counts what goes there. */
export interface CountingProxy extends AsyncDisposable {
  url: string;
  /** All bytes sent to the instance so far: request lines, headers, bodies as they were on the wire. */
  wireBytes(): number;
  /** The bodies among them, without their compression. */
  plainBytes(): number;
}

export async function startCountingProxy(target: string): Promise<CountingProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let wireBytes = 0;
  let plainBytes = 0;
  // Reads a copy of the requests; its answers go nowhere.
  const reader = createHttpServer((request, response) => {
    countBody(request, response, (bytes) => {
      plainBytes += bytes;
    });
  });
  const server = createServer((client) => {
    const instance = connect({ host: hostname, port: Number(port), noDelay: true });
    client.setNoDelay(true);
    const copy = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    reader.emit('connection', copy);
    client.on('data', (chunk) => {
      wireBytes += chunk.length;
      copy.push(chunk);
    });
    client.once('end', () => copy.push(null));
    client.pipe(instance).pipe(client);
    for (const socket of [client, instance]) {
      sockets.add(socket);
      // Either end may vanish; the other one then learns it as if it had been connected directly.
      socket.on('error', () => undefined);
      socket.once('close', () => {
        sockets.delete(socket);
        client.destroy();
        instance.destroy();
        copy.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    wireBytes: () => wireBytes,
    plainBytes: () => plainBytes,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, 'close');
    },
  };
}

async function countBody(
  request: IncomingMessage,
  response: ServerResponse,
  count: (bytes: number) => void,
): Promise<void> {
  try {
    const counting = async (body: AsyncIterable<Buffer>): Promise<void> => {
      for await (const chunk of body) count(chunk.length);
    };
    if (request.headers['content-encoding'] === 'gzip') await pipeline(request, createGunzip(), counting);
    else await pipeline(request, counting);
    response.end();
  } catch (error) {
    // A request that was broken off: what came of it has been counted.
    response.destroy(error instanceof Error ? error : undefined);
  }
}
