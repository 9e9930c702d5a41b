import { type Attempt, everybody, framed, ownHardware, plain, sent } from './attempt.ts';
import {
  arpClaim,
  bytesOf,
  etherTypes,
  frame,
  hexOf,
  icmp,
  type Packet,
  packet,
  ping,
  protocols,
  sctp,
  tcp,
  tunnel,
  udp,
} from './packets.ts';

/** A router for half an hour, of the prefix that nobody must believe in. */
export const falsePrefix = '2001:db8:66::';
const routerAdvertisement = `86000000400007080000000000000000030440c0000007080000070800000000${hexOf(falsePrefix)}`;

/**
 * What root of the job's network tries, with all rights there: that of a VM, or a process that broke out of its container's limits. Each that
 * must not arrive has a port of its own, so that nothing else is taken for it.
 */
export const rootAttempts: readonly Attempt[] = [
  // First that what follows would arrive if nothing stood in its way.
  sent('open', 'a packet of its own making', 'internet', ({ own }) =>
    udp(own, '203.0.113.1', { destination: 7102 }),
  ),
  sent('open', 'a connection of its own making', 'internet', ({ own }) =>
    tcp(own, '203.0.113.1', { destination: 7103 }),
  ),
  // Other protocols.
  sent('lost', 'SCTP to the internet', 'internet', ({ own }) =>
    sctp(own, '203.0.113.1', { destination: 7104 }),
  ),
  sent('lost', 'SCTP to a private address', 'corporate', ({ own }) =>
    sctp(own, '10.9.0.1', { destination: 7105 }),
  ),
  ...(['203.0.113.1', '203.0.113.254'] as const).flatMap((to) => {
    const at = to === '203.0.113.1' ? 'internet' : 'machine';
    const inner = (own: string): Packet => udp(own, '10.9.0.1', { destination: 7106 });
    return [
      sent('lost', `IPv4 in IPv4 to ${to}`, at, ({ own }) => tunnel(own, to, protocols.ipip, inner(own))),
      sent('lost', `GRE to ${to}`, at, ({ own }) => tunnel(own, to, protocols.gre, inner(own), '00000800')),
      sent('lost', `IPv6 in IPv4 to ${to}`, at, ({ own }) =>
        tunnel(own, to, protocols.ipv6, udp('2002::1', 'fd12::1', { destination: 7106 })),
      ),
      sent('lost', `ESP to ${to}`, at, ({ own }) => plain(own, to, protocols.esp)),
    ];
  }),
  sent('lost', '6to4 through a relay', 'internet', ({ own }) =>
    tunnel(own, '192.88.99.1', protocols.ipv6, udp('2002::1', 'fd12::1', { destination: 7107 })),
  ),
  sent('lost', 'an unknown protocol', 'internet', ({ own }) =>
    plain(own, '203.0.113.1', protocols.experimental),
  ),
  sent('lost', 'IGMP to the machine', 'machine', ({ own, gateway }) => plain(own, gateway, protocols.igmp)),
  sent('lost', 'a timestamp request', 'internet', ({ own }) =>
    icmp(own, '203.0.113.1', Buffer.alloc(20, 0).fill(13, 0, 1)),
  ),
  sent('lost', 'a redirect to the machine', 'machine', ({ own, gateway }) =>
    icmp(
      own,
      gateway,
      Buffer.concat([
        Buffer.from([5, 1, 0, 0]),
        bytesOf(own),
        packet(udp(gateway, '203.0.113.1', { destination: 1 })),
      ]),
    ),
  ),
  // In the middle of connections that are none.
  sent('lost', 'an acknowledgement to a private address', 'corporate', ({ own }) =>
    tcp(own, '10.9.0.1', { destination: 7108 }, 0x10),
  ),
  sent('lost', 'the first fragment to a private address', 'corporate', ({ own }) => ({
    ...udp(own, '10.9.0.1', { destination: 7109 }),
    fragment: 0x2000,
  })),
  // The port is in a fragment that the rules might not see.
  sent('lost', 'a later fragment alone', 'internet', ({ own }) => ({
    ...plain(own, '203.0.113.1', protocols.udp),
    fragment: 0x0040,
  })),
  // Under other names.
  ...(
    [
      ['203.0.113.77', 7110],
      ['10.9.0.1', 7111],
      ['10.77.0.2', 7112],
      ['127.0.0.1', 7113],
      ['0.0.0.0', 7114],
      ['169.254.169.254', 7115],
    ] as const
  ).flatMap(([source, destination]) => [
    sent('lost', `as ${source} to the internet`, 'internet', () =>
      udp(source, '203.0.113.1', { destination }),
    ),
    sent('lost', `as ${source} to the machine`, 'machine', ({ gateway }) =>
      udp(source, gateway, { destination }),
    ),
  ]),
  sent('lost', 'as the machine itself', 'internet', ({ gateway }) =>
    udp(gateway, '203.0.113.1', { destination: 7116 }),
  ),
  // On the link itself.
  framed('DHCP: looking for a server', 'machine', etherTypes.ipv4, everybody, () =>
    udp('0.0.0.0', '255.255.255.255', { source: 68, destination: 67 }),
  ),
  framed('DHCP: playing a server', 'machine', etherTypes.ipv4, everybody, ({ own }) =>
    udp(own, '255.255.255.255', { source: 67, destination: 68 }),
  ),
  framed('IPv6: playing a router', 'machine', etherTypes.ipv6, '33:33:00:00:00:01', () =>
    icmp('fe80::66', 'ff02::1', Buffer.from(routerAdvertisement, 'hex')),
  ),
  framed('IPv6: ping to everybody', 'machine', etherTypes.ipv6, '33:33:00:00:00:01', () =>
    ping('fe80::66', 'ff02::1'),
  ),
  framed('IPv6 to the internet', 'internet', etherTypes.ipv6, 'gateway', () =>
    tcp('2001:db8:62::2', '2001:db8::1', { destination: 7117 }),
  ),
  framed('IPv6 to a private address', 'corporate', etherTypes.ipv6, 'gateway', () =>
    udp('fd99::66', 'fd12::1', { destination: 7118 }),
  ),
  framed('IPv6 to the metadata service', 'metadata', etherTypes.ipv6, 'gateway', () =>
    tcp('fd12::66', 'fd00:ec2::254', { destination: 80 }),
  ),
  {
    ...framed('another network by a tag', 'internet', etherTypes.vlan, 'gateway', ({ own }) =>
      udp(own, '203.0.113.1', { destination: 7119 }),
    ),
    text: ({ own, gatewayHardware: to }) => {
      const inner = packet(udp(own, '203.0.113.1', { destination: 7119 }));
      const tagged = Buffer.concat([Buffer.from('00010800', 'hex'), inner]);
      return `frame ${frame({ from: ownHardware, to }, etherTypes.vlan, tagged)}`;
    },
  },
  // Nobody must believe it: see the test of the machine's own state.
  ...(['10.9.0.1', '203.0.113.1'] as const).map(
    (address): Attempt => ({
      name: `ARP: claiming ${address}`,
      verdict: 'lost',
      at: 'machine',
      text: () =>
        `frame ${frame({ from: ownHardware, to: everybody }, etherTypes.arp, arpClaim(address, ownHardware))}`,
      trace: () => 'none',
    }),
  ),
];

/** By name, what a kernel stops without any of our rules: everywhere; in VMs, whose link has no IPv6 on this machine. */
export const stoppedAnyway = {
  docker: [
    'the first fragment to a private address',
    'a later fragment alone',
    'as 127.0.0.1 to the internet',
    'as 127.0.0.1 to the machine',
    'as the machine itself',
    'another network by a tag',
  ],
  microvm: [
    'the first fragment to a private address',
    'a later fragment alone',
    'as 127.0.0.1 to the internet',
    'as 127.0.0.1 to the machine',
    'as the machine itself',
    'IPv6: playing a router',
    'IPv6: ping to everybody',
    'IPv6 to the internet',
    'IPv6 to a private address',
    'IPv6 to the metadata service',
    'another network by a tag',
  ],
} as const;
