import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { checkResolvers } from './resolvers.ts';

const noSuchName = 3;

/** A name server that knows no name. */
async function nameServer(): Promise<{ address: string } & AsyncDisposable> {
  const socket = createSocket('udp4');
  socket.on('message', (question, from) => {
    const answer = Buffer.from(question);
    answer[2] = 0x81;
    answer[3] = 0x80 | noSuchName;
    socket.send(answer, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    async [Symbol.asyncDispose]() {
      socket.close();
    },
  };
}

test('a name server that answers is fine, whatever it answers', async () => {
  await using server = await nameServer();
  expect(await checkResolvers([server.address])).toMatchObject({
    state: 'ok',
    message: `${server.address} answers`,
  });
});

test('one that is silent is named', async () => {
  await using server = await nameServer();
  const check = await checkResolvers([server.address, '127.0.0.1:1']);
  expect(check).toMatchObject({ state: 'warning', message: expect.stringContaining('127.0.0.1:1') });
  expect(check.message).not.toContain(server.address);
});

test('none at all is told', async () => {
  expect(await checkResolvers([])).toMatchObject({
    state: 'warning',
    fix: expect.stringContaining('resolv.conf'),
  });
});
