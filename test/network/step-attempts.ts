import { type Attempt, atGateway, lookedUp, tried } from './attempt.ts';
import { packet, udp } from './packets.ts';

/** What a step tries, as any program could. The executor opens 10.20.0.0/24, and the instance is http://10.9.0.9:3080. */
export const stepAttempts: readonly Attempt[] = [
  tried('open', 'tcp', '203.0.113.1', 'internet'),
  tried('open', 'udp', '203.0.113.1', 'internet'),
  tried('open', 'ping', '203.0.113.1', 'internet'),
  tried('open', 'tcp', '10.20.0.1', 'corporate'),
  tried('open', 'udp', '10.20.0.1', 'corporate'),
  tried('open', 'udp', '10.20.0.1', 'corporate', 53),
  tried('open', 'tcp', '10.9.0.9', 'corporate', 3080),
  tried('refused', 'tcp', '10.9.0.9', 'corporate', 80),
  tried('refused', 'udp', '10.9.0.9', 'corporate', 3080),
  ...(['10.9.0.1', '172.16.9.1', '192.168.77.1', '100.64.0.1', '198.18.0.1'] as const).flatMap((address) =>
    (['tcp', 'udp', 'ping'] as const).map((kind) => tried('refused', kind, address, 'corporate')),
  ),
  ...(['169.254.169.254', '169.254.7.7', '168.63.129.16', '100.100.100.200'] as const).flatMap((address) => [
    tried('refused', 'tcp', address, 'metadata', 80),
    tried('refused', 'udp', address, 'metadata', 80),
  ]),
  tried('refused', 'ping', '169.254.169.254', 'metadata'),
  tried('refused', 'tcp', '192.88.99.1', 'internet'),
  // This machine, by each of its addresses.
  ...(['203.0.113.254', '10.9.0.254'] as const).flatMap((address) =>
    (['tcp', 'udp', 'ping'] as const).map((kind) => tried('refused', kind, address, 'machine')),
  ),
  tried('refused', 'tcp', '203.0.113.254', 'machine', 22),
  tried('refused', 'udp', '203.0.113.254', 'machine', 53),
  atGateway('refused', 'tcp', 7000),
  atGateway('refused', 'udp', 7000),
  atGateway('refused', 'tcp', 22),
  // Another job, and this machine's address in its network.
  ...(['tcp', 'udp', 'ping'] as const).map((kind) => tried('refused', kind, '10.77.0.2', 'otherJob')),
  tried('refused', 'tcp', '10.77.0.1', 'machine'),
  // Names are looked up at the gateway only.
  tried('refused', 'udp', '203.0.113.1', 'internet', 53),
  tried('refused', 'tcp', '203.0.113.1', 'internet', 53),
  tried('refused', 'tcp', '203.0.113.1', 'internet', 853),
  lookedUp('public.test', 'udp', '203.0.113.1'),
  lookedUp('public.test', 'tcp', '203.0.113.1'),
  lookedUp('rebind.test', 'udp', 'none'),
  lookedUp('rebind.test', 'tcp', 'none'),
  lookedUp('mixed.test', 'udp', '203.0.113.1'),
  lookedUp('metadata.test', 'udp', 'none'),
  lookedUp('opened.test', 'udp', '10.20.0.1'),
  lookedUp('big.test', 'udp', 'truncated'),
  lookedUp('unknown.test', 'udp', 'code-3'),
  lookedUp('public.test', 'tcp', 'code-5', 252),
  // Everybody at once.
  tried('lost', 'udp', '255.255.255.255', 'machine'),
  tried('lost', 'udp', '224.0.0.1', 'machine'),
  // No job has IPv6.
  tried('refused', 'tcp', '2001:db8::1', 'internet'),
  tried('refused', 'udp', 'fd12::1', 'corporate'),
  tried('refused', 'tcp', 'fd00:ec2::254', 'metadata', 80),
  tried('refused', 'ping', '2001:db8::1', 'internet'),
  // A step has no right to send packets that it wrote itself.
  {
    name: 'a packet of its own making',
    verdict: 'answered forbidden',
    at: 'internet',
    text: ({ own }) => `packet ${packet(udp(own, '203.0.113.1', { destination: 7101 })).toString('hex')}`,
    trace: () => '17 203.0.113.1 7101',
  },
];
