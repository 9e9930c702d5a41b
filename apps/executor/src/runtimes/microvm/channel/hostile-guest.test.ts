import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectGuest } from './connect.ts';
import {
  encodeFrame,
  fillerBytes,
  guestFrame,
  helloMagic,
  nonceBytes,
  outputWindow,
  readyMagic,
} from './frames.ts';
import type { GuestChannel } from './guest-channel.ts';

let directory: string;
let server: Server;
let connections: Socket[];
let onConnection: (socket: Socket) => void;
const socketPath = () => path.join(directory, 'control');
const signal = () => AbortSignal.timeout(15_000);

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'kiln-channel-'));
  connections = [];
  onConnection = () => undefined;
  server = createServer((socket) => {
    connections.push(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(socketPath());
  await once(server, 'listening');
});
afterEach(async () => {
  for (const socket of connections) socket.destroy();
  server.close();
  await rm(directory, { recursive: true });
});

/** A guest that greets as the agent does, and then does as it is told. */
interface FakeGuest {
  channel: GuestChannel;
  socket: Socket;
  nonce: Buffer;
  send(type: number, stream: number, payload?: Uint8Array): void;
}

async function greeted(): Promise<FakeGuest> {
  const hello = Promise.withResolvers<{ socket: Socket; nonce: Buffer }>();
  onConnection = async (socket) => hello.resolve({ socket, nonce: await nonceOf(socket) });
  const connecting = connectGuest(socketPath(), { signal: signal() });
  const { socket, nonce } = await hello.promise;
  socket.resume();
  socket.write(Buffer.concat([readyMagic, nonce]));
  return {
    channel: await connecting,
    socket,
    nonce,
    send: (type, stream, payload = new Uint8Array()) =>
      socket.write(encodeFrame(nonce, type, stream, payload)),
  };
}

async function nonceOf(socket: Socket): Promise<Buffer> {
  let seen: Buffer = Buffer.alloc(0);
  for (;;) {
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    seen = Buffer.concat([seen, bytes]);
    const at = seen.indexOf(helloMagic);
    if (at >= 0 && seen.length >= at + helloMagic.length + nonceBytes)
      return seen.subarray(at + helloMagic.length, at + helloMagic.length + nonceBytes);
  }
}

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

describe('connectGuest', () => {
  it('begins with filler, so that a frame that was cut off is ended', async () => {
    const first = Promise.withResolvers<Buffer>();
    onConnection = (socket) => {
      let seen: Buffer = Buffer.alloc(0);
      socket.on('data', (bytes: Buffer) => {
        seen = Buffer.concat([seen, bytes]);
        if (seen.length > fillerBytes) first.resolve(seen);
      });
    };
    const abort = new AbortController();
    const connecting = connectGuest(socketPath(), { signal: abort.signal });
    const seen = await first.promise;
    expect(seen.subarray(0, fillerBytes).every((byte) => byte === 0)).toBe(true);
    expect(seen.indexOf(helloMagic)).toBe(fillerBytes);
    abort.abort(new Error('enough'));
    await expect(connecting).rejects.toThrow('enough');
  });

  it('drops what an old session left, and answers to other greetings', async () => {
    onConnection = async (socket) => {
      const nonce = await nonceOf(socket);
      const old = randomBytes(nonceBytes);
      socket.write(encodeFrame(old, guestFrame.output, 1, randomBytes(50_000)).subarray(20_000));
      socket.write(Buffer.concat([readyMagic, old, readyMagic.subarray(0, 9), readyMagic]));
      // Byte by byte over the interesting place.
      for (const byte of nonce) socket.write(Buffer.from([byte]));
      socket.write(encodeFrame(nonce, guestFrame.pong, 0, new Uint8Array()).subarray(0, 3));
    };
    const channel = await connectGuest(socketPath(), { signal: signal() });
    await channel[Symbol.asyncDispose]();
    expect((await channel.closed).message).toBe('the control channel was closed');
  });

  it('gives up a guest that floods instead of answering', async () => {
    onConnection = (socket) => {
      socket.resume();
      const flood = () => {
        while (!socket.destroyed && socket.write(randomBytes(65536)));
      };
      socket.on('drain', flood);
      flood();
    };
    await expect(connectGuest(socketPath(), { signal: signal() })).rejects.toThrow(
      'no answer to the greeting',
    );
  });

  it('waits for a socket that is not there yet, and for a guest that hangs up', async () => {
    let times = 0;
    onConnection = async (socket) => {
      times += 1;
      if (times < 3) return socket.destroy();
      socket.write(Buffer.concat([readyMagic, await nonceOf(socket)]));
      socket.resume();
    };
    server.close();
    await once(server, 'close');
    const connecting = connectGuest(socketPath(), { signal: signal() });
    server.listen(socketPath());
    await (await connecting)[Symbol.asyncDispose]();
    expect(times).toBe(3);
  });

  it('ends with its signal', async () => {
    await expect(
      connectGuest(path.join(directory, 'nothing'), { signal: AbortSignal.timeout(50) }),
    ).rejects.toThrow('timeout');
    await expect(connectGuest(socketPath(), { signal: AbortSignal.timeout(50) })).rejects.toThrow('timeout');
  });
});

describe('a guest that breaks the protocol', () => {
  const exec = async (guest: FakeGuest) => {
    const starting = guest.channel.exec({ argv: ['x'] });
    guest.send(guestFrame.started, 1);
    return starting;
  };

  it.each<[string, (guest: FakeGuest) => unknown, string]>([
    ['garbage', ({ socket }) => socket.write(randomBytes(1000)), 'another session'],
    ['zeros', ({ socket }) => socket.write(Buffer.alloc(10)), 'another session'],
    [
      'another session',
      ({ socket }) => socket.write(encodeFrame(randomBytes(16), 67, 1, u32(1))),
      'another session',
    ],
    ['an unknown type', (guest) => guest.send(99, 1), 'a frame of type 99'],
    ['a stream that was never opened', (guest) => guest.send(guestFrame.output, 2, u32(1)), 'stream 2'],
    ['a pong to no ping', (guest) => guest.send(guestFrame.pong, 0), 'an answer to no question'],
    [
      'an exit status of 3 bytes',
      (guest) => guest.send(guestFrame.exit, 1, new Uint8Array(3)),
      'exit status',
    ],
    [
      'an exit of a third kind',
      (guest) => guest.send(guestFrame.exit, 1, Buffer.from([2, 0])),
      'exit status',
    ],
    ['empty output', (guest) => guest.send(guestFrame.output, 1), 'more output'],
    [
      'an answer for a file',
      (guest) => guest.send(guestFrame.done, 1, Buffer.from([1])),
      'type 71 for a command',
    ],
    ['credit beyond what was sent', (guest) => guest.send(guestFrame.inputCredit, 1, u32(1)), 'wrong credit'],
    ['credit of nothing', (guest) => guest.send(guestFrame.inputCredit, 1, u32(0)), 'wrong credit'],
    ['a failure after the start', (guest) => guest.send(guestFrame.failed, 1, u32(1)), 'after the start'],
    ['a second start', (guest) => guest.send(guestFrame.started, 1), 'after the start'],
  ])('%s', async (_what, misbehave, message) => {
    const guest = await greeted();
    const process = await exec(guest);
    misbehave(guest);
    const closed = await guest.channel.closed;
    expect(closed.name).toBe('GuestError');
    expect(closed.message).toContain('the VM broke the control protocol');
    expect(closed.message).toContain(message);
    await expect(process.exit).rejects.toBe(closed);
    await expect(guest.channel.exec({ argv: ['y'] })).rejects.toBe(closed);
    await expect(guest.channel.readFile('/x', 1)).rejects.toBe(closed);
  });

  it.each([
    ['an exit', guestFrame.exit, Buffer.from([0, 0]), 'before the start'],
    ['output', guestFrame.output, u32(1), 'before the start'],
    ['a failure without a reason', guestFrame.failed, Buffer.from([1]), 'a failure without a reason'],
  ])('%s before a start', async (_what, type, payload, message) => {
    const guest = await greeted();
    const starting = guest.channel.exec({ argv: ['x'] });
    guest.send(type, 1, payload);
    await expect(starting).rejects.toThrow(message);
    expect((await guest.channel.closed).message).toContain(message);
  });

  it('sends more output than the host takes', async () => {
    const guest = await greeted();
    let taken = 0;
    const starting = guest.channel.exec({
      argv: ['x'],
      output: {
        write: (_stream, bytes) => {
          taken += bytes.length;
          return new Promise(() => undefined);
        },
      },
    });
    guest.send(guestFrame.started, 1);
    await starting;
    for (let sent = 0; sent <= outputWindow; sent += 65536)
      guest.send(guestFrame.output, 1, new Uint8Array(65536));
    expect((await guest.channel.closed).message).toContain('more output than it may send');
    expect(taken).toBe(65536);
  });

  it('sends a million single bytes', async () => {
    const guest = await greeted();
    const starting = guest.channel.exec({
      argv: ['x'],
      output: { write: () => new Promise(() => undefined) },
    });
    guest.send(guestFrame.started, 1);
    await starting;
    const frame = encodeFrame(guest.nonce, guestFrame.errorOutput, 1, Buffer.from('x'));
    guest.socket.write(Buffer.concat(Array.from({ length: 20_000 }, () => frame)));
    expect((await guest.channel.closed).message).toContain('more output than it may send');
  });

  it('sends more of a file than was asked for', async () => {
    const guest = await greeted();
    const reading = guest.channel.readFile('/x', 10);
    guest.send(guestFrame.output, 1, new Uint8Array(6));
    guest.send(guestFrame.output, 1, new Uint8Array(6));
    await expect(reading).rejects.toThrow('more than 10 bytes of /x');
    await guest.channel.closed;
  });

  it('hangs up', async () => {
    const guest = await greeted();
    const process = await exec(guest);
    guest.socket.destroy();
    await expect(process.exit).rejects.toThrow('the VM closed the connection');
    expect((await guest.channel.closed).message).toContain('it has ended');
  });

  it('says why something failed at any length, and is quoted shortly', async () => {
    const guest = await greeted();
    const reading = guest.channel.readFile('/x', 10);
    guest.send(guestFrame.failed, 1, Buffer.concat([u32(40), Buffer.alloc(60_000, 'x')]));
    await expect(reading).rejects.toMatchObject({ errno: 40, message: 'x'.repeat(1000) });
    await guest.channel[Symbol.asyncDispose]();
  });
});

describe('what no command can be given', () => {
  it.each([
    [{ argv: [] }, 'a command without a program'],
    [{ argv: ['a\0b'] }, 'a zero byte'],
    [{ argv: ['a'], env: { 'A=B': 'c' } }, 'names no variable'],
    [{ argv: ['a', 'x'.repeat(200_000)] }, 'write them to a file'],
  ])('%#', async (command, message) => {
    const guest = await greeted();
    await expect(guest.channel.exec(command)).rejects.toThrow(message);
    await guest.channel[Symbol.asyncDispose]();
  });
});
