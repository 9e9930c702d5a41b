import { createSocket } from 'node:dgram';
import { createServer, isIPv6 } from 'node:net';
import { type DecodedPacket, decode, encode, type Packet } from 'dns-packet';

/**
 * A program that plays whoever is at a place of the laboratory: it answers over both IP versions: on port 53 as a
 * name server that is up to no good, on others with a greeting. Ends with its input. Arguments: ports; addresses, for
 * UDP: one socket for all would answer from the first address of its link.
 */
const [ports, addresses] = [process.argv[2] ?? '', process.argv[3] ?? ''].map((list) => list.split(',')) as [
  string[],
  string[],
];
/** What every name is told to lead to. */
const names: Record<string, string[]> = {
  'public.test': ['203.0.113.1'],
  'rebind.test': ['10.9.0.1'],
  'mixed.test': ['203.0.113.1', '10.9.0.1', '192.168.77.1'],
  'metadata.test': ['169.254.169.254'],
  'opened.test': ['10.20.0.1'],
  'big.test': Array.from({ length: 60 }, (_, index) => `203.0.113.${index + 1}`),
  'huge.test': Array.from({ length: 500 }, (_, index) => `203.0.${index >> 8}.${index & 255}`),
};

process.stdin.resume().on('end', () => process.exit());
for (const port of ports.map(Number)) {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    if (port !== 53) socket.end('hello over tcp\n');
    else
      socket.once('data', (bytes: Buffer) => {
        const reply = answer(bytes.subarray(2));
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.end(Buffer.concat([length, reply]));
      });
  });
  await new Promise<void>((resolve) => server.listen(port, '::', resolve));
  for (const address of addresses) {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    socket
      .on('error', () => undefined)
      .on('message', (message, from) => {
        const isQuestion = port === 53 && message.length > 12;
        const replies = isQuestion ? datagrams(message) : [Buffer.from('hello over udp')];
        for (const reply of replies) socket.send(reply, from.port, from.address);
      });
    await new Promise<void>((resolve) => socket.bind(port, address, resolve));
  }
}
console.log('ready');

/** Before each answer comes a forged one, of another number, that leads elsewhere. */
function datagrams(message: Buffer): Buffer[] {
  const packet = decode(message);
  const forged = encode({
    ...reply(packet),
    id: ((packet.id ?? 0) + 1) % 0x1_0000,
    answers: addressesOf(packet, ['203.0.113.66']),
  });
  const real = answer(message);
  if (real.length <= 512) return [forged, real];
  return [forged, encode({ ...reply(packet), flags: 1 << 9, answers: [] })];
}

function answer(message: Buffer): Buffer {
  const packet = decode(message);
  const found = names[packet.questions?.[0]?.name ?? ''];
  return encode({ ...reply(packet), answers: addressesOf(packet, found ?? []), flags: found ? 0 : 3 });
}

function reply(packet: DecodedPacket): Packet {
  return { type: 'response', id: packet.id, questions: packet.questions };
}

function addressesOf(packet: DecodedPacket, addresses: string[]): Packet['answers'] {
  const name = packet.questions?.[0]?.name ?? '';
  return addresses.map((data) => ({ name, type: 'A', ttl: 1, data }));
}
