import { once } from 'node:events';
import { createServer } from 'node:net';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createDatabase } from './connections.ts';
import { isPassingFailure } from './errors.ts';

test('a connection that ends in the moment it begins fails its statement, not the process', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    // A start-up message is answered with welcome and farewell in one packet.
    socket.once('data', () => socket.end(Buffer.concat([authenticationOk, readyForQuery, shutdown])));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const database = createDatabase({
    connection: { connectionString: `postgres://nobody@127.0.0.1:${address.port}/nothing` },
    log: pino({ level: 'silent' }),
  });
  try {
    const failure = await database.query('select 1').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Error);
    expect(isPassingFailure(failure)).toBe(true);
  } finally {
    await database[Symbol.asyncDispose]();
    server.close();
  }
});

const authenticationOk = message('R', Buffer.alloc(4));
const readyForQuery = message('Z', Buffer.from('I'));
const shutdown = message(
  'E',
  Buffer.from('SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0'),
);

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
