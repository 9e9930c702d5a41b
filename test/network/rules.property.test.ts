import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { rulesetFor } from '../../apps/executor/src/runtimes/network/network-rules.ts';
import { applyRules } from '../../apps/executor/src/runtimes/network/nft.ts';
import { judgeOf } from '../../apps/executor/src/runtimes/network/policy.ts';
import {
  forwardPackets,
  inNamespace,
  type NetworkNamespace,
  networkNamespace,
} from '../kit/network-namespace.ts';
import { etherTypes, frame, type Packet, ping, sctp, tcp, udp } from './packets.ts';
import { probeProgram } from './probe.ts';
import {
  addressOf,
  endsOf,
  type Flow,
  isOpen,
  neverOpen,
  notPublic,
  numberOf,
  type ReferencePolicy,
} from './reference.ts';

/**
 * Random policies and random flows: packets that a job sends over a real link, under the real rules, against what the reference says. A
 * second table, behind that of the job, notes what was let through: each flow has a number of its own.
 * job (10.62.0.2, 2001:db8:62::2) - link - machine, which has routes to everywhere
 */
const [own4, own6] = ['10.62.0.2', '2001:db8:62::2'];
const machine4 = ['10.62.0.1', '10.44.0.1', '198.51.100.1'];
const machine6 = ['2001:db8:62:0:0:0:0:1', 'fd44:0:0:0:0:0:0:1'];
const hardware = { from: '02:00:00:00:00:02', to: '02:00:00:00:00:01' };
const table = 'kiln_0123456789ab';
const link = 'kb0123456789ab';
const firstNumber = 20_000;
let machine: NetworkNamespace;
let job: NetworkNamespace;

beforeAll(async () => {
  machine = await networkNamespace();
  job = await networkNamespace();
  const ip = (namespace: string, text: string) => inNamespace(namespace, ['ip', ...text.split(' ')]);
  await ip(
    machine.path,
    `link add ${link} address ${hardware.to} type veth peer name eth0 address ${hardware.from} netns ${job.pid}`,
  );
  await ip(machine.path, 'link add far type veth peer name near');
  for (const address of machine4) await ip(machine.path, `addr add ${address}/32 dev ${link}`);
  for (const address of machine6) await ip(machine.path, `addr add ${address}/128 dev ${link} nodad`);
  for (const name of [link, 'far', 'near']) await ip(machine.path, `link set ${name} up`);
  await ip(job.path, 'link set eth0 up');
  await ip(machine.path, `route add ${own4}/32 dev ${link}`);
  await ip(machine.path, `-6 route add ${own6}/128 dev ${link}`);
  // Whoever is there: what passes the rules has left the machine.
  await ip(machine.path, 'route add default dev far');
  await ip(machine.path, '-6 route add default dev far');
  await forwardPackets(machine.path);
  await applyRules(machine.path, witnessRules);
});
afterAll(async () => {
  await job?.[Symbol.asyncDispose]();
  await machine?.[Symbol.asyncDispose]();
});

const witnessRules = `table inet witness {
  set passed { type inet_service; }
  chain note {
    meta l4proto { tcp, udp, sctp } add @passed { th sport }
    icmp type echo-request add @passed { icmp id }
    icmpv6 type echo-request add @passed { icmpv6 id }
  }
  chain forwarded { type filter hook forward priority 100; iifname "${link}" jump note; }
  chain taken { type filter hook input priority 100; iifname "${link}" jump note; }
}
`;

test('the rules pass what the policy says, and nothing else', async () => {
  let flows = 0;
  let open = 0;
  await fc.assert(
    fc.asyncProperty(policies, async ({ policy, flows: tried }) => {
      const expected = tried.map((flow) => isOpen(policy, flow));
      const passed = await passing(policy, tried);
      flows += tried.length;
      open += expected.filter(Boolean).length;
      expect(tried.filter((_, index) => passed[index])).toEqual(tried.filter((_, index) => expected[index]));
    }),
    // What failed is said with its policy and flow; less of it would take a minute to find.
    { numRuns: 25, endOnFailure: true },
  );
  // Neither answer is the rare one.
  expect(flows).toBeGreaterThan(500);
  expect(open).toBeGreaterThan(flows / 10);
  expect(open).toBeLessThan(flows * 0.9);
});

test('addresses are taken out of answers exactly when the rules would refuse them', () => {
  fc.assert(
    fc.property(policies, ({ policy, flows }) => {
      const closedBecause = judgeOf({ endpoints: policy.endpoints, allowedCIDRs: policy.allowed });
      const others = flows.filter(({ destination }) => !policy.machine.includes(destination));
      for (const { destination } of others) {
        const ports = [1, ...policy.endpoints.map(({ port }) => port)];
        const isReached = ports.some((port) => isOpen(policy, { protocol: 'tcp', destination, port }));
        expect([destination, closedBecause(destination) === undefined]).toEqual([destination, isReached]);
      }
    }),
    { numRuns: 100, endOnFailure: true },
  );
});

/** Sends the first packet of each flow. @returns which were let through */
async function passing(policy: ReferencePolicy, flows: readonly Flow[]): Promise<boolean[]> {
  const rules = rulesetFor({
    table,
    link,
    sources: [`${own4}/32`, `${own6}/128`],
    lookups: undefined,
    masquerade: false,
    endpoints: policy.endpoints,
    allowedCIDRs: policy.allowed,
  });
  await applyRules(machine.path, `flush set inet witness passed\n${rules}`);
  try {
    await probeProgram(
      job.path,
      flows.map((flow, index) => `${index} frame ${frameOf(flow, firstNumber + index)}`),
    );
    const listed = await inNamespace(machine.path, [
      'nft',
      '-j',
      '-n',
      'list',
      'set',
      'inet',
      'witness',
      'passed',
    ]);
    const numbers = new Set(
      (JSON.parse(listed) as { nftables: { set?: { elem?: number[] } }[] }).nftables.flatMap(
        ({ set }) => set?.elem ?? [],
      ),
    );
    return flows.map((_, index) => numbers.has(firstNumber + index));
  } finally {
    await applyRules(machine.path, `delete table inet ${table}\n`);
  }
}

function frameOf({ protocol, destination, port }: Flow, number: number): string {
  const version = destination.includes(':') ? 'ipv6' : 'ipv4';
  const from = version === 'ipv6' ? own6 : own4;
  const ports = { source: number, destination: port };
  const packets: Record<Flow['protocol'], () => Packet> = {
    tcp: () => tcp(from, destination, ports),
    udp: () => udp(from, destination, ports),
    sctp: () => sctp(from, destination, ports),
    ping: () => ping(from, destination, number),
  };
  return frame(hardware, etherTypes[version], packets[protocol]());
}

/** Ranges that people open: private ones, parts of them, single addresses, public ones. */
const allowedRanges = fc.uniqueArray(
  fc.constantFrom(
    ...['10.0.0.0/8', '10.5.0.0/16', '172.16.0.0/12', '192.168.1.0/24', '169.254.0.0/16', '10.44.0.1/32'],
    ...[
      '100.64.0.0/10',
      '8.8.8.8/32',
      '198.51.100.0/24',
      'fc00::/7',
      'fd44::1/128',
      'fd00:ec2::/32',
      '2002::/16',
    ],
  ),
  { maxLength: 4 },
);
const endpoints = fc.uniqueArray(
  fc.record({
    address: fc.constantFrom('10.44.0.1', '10.7.7.7', '203.0.113.7', '169.254.169.254', 'fd77:0:0:0:0:0:0:7'),
    port: fc.constantFrom(443, 3080),
  }),
  { maxLength: 2, selector: ({ address, port }) => `${address} ${port}` },
);

/** Where ranges begin and end is where mistakes are: the addresses there and beside, of all that the policy names. */
function interesting(policy: ReferencePolicy): string[] {
  const ranges = [
    ...notPublic,
    ...policy.allowed,
    '2000::/3',
    'fc00::/7',
    'fe80::/10',
    '64:ff9b::/96',
    '::/127',
  ];
  const beside = ranges.flatMap((cidr) => {
    const version = cidr.includes(':') ? 6 : 4;
    const highest = 2n ** (version === 6 ? 128n : 32n) - 1n;
    const [first, last] = endsOf(cidr);
    return [first - 1n, first, last, last + 1n]
      .filter((number) => number >= 0n && number <= highest)
      .map((number) => addressOf(number, version));
  });
  const named = [
    ...neverOpen,
    ...policy.endpoints.map(({ address }) => address),
    ...policy.machine,
    '8.8.8.8',
  ];
  const plain = (address: string): string => addressOf(numberOf(address), address.includes(':') ? 6 : 4);
  return [...beside, ...named.map(plain)].filter(isRouted);
}

/** A kernel drops these before any rule of ours, or takes them for itself: they have tests of their own. */
function isRouted(address: string): boolean {
  if (!address.includes(':'))
    return !/^(0|127|22[4-9]|23\d|24\d|25[0-5])\./.test(address) && address !== own4;
  const number = numberOf(address);
  return number > 1n && number >> 120n !== 0xffn && number >> 118n !== 0x3fan && number !== numberOf(own6);
}

const policies = fc
  .record({ allowed: allowedRanges, endpoints })
  .map((parts): ReferencePolicy => ({ ...parts, machine: [...machine4, ...machine6] }))
  .chain((policy) => {
    const port = fc.oneof(fc.constantFrom(53, 853, 443, 3080), fc.integer({ min: 1, max: 65_535 }));
    const random4 = fc
      .bigInt({ min: 2n ** 24n, max: 223n * 2n ** 24n })
      .map((number) => addressOf(number, 4));
    const random6 = fc
      .bigInt({ min: 2n ** 125n, max: 2n ** 126n - 1n })
      .map((number) => addressOf(number, 6));
    const destination = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...interesting(policy)) },
      { weight: 1, arbitrary: random4.filter(isRouted) },
      { weight: 1, arbitrary: random6 },
    );
    const flow = fc
      .record({ protocol: fc.constantFrom('tcp', 'udp', 'sctp', 'ping'), destination, port })
      .map((fields): Flow => (fields.protocol === 'ping' ? { ...fields, port: 0 } : fields));
    return fc.record({
      policy: fc.constant(policy),
      flows: fc.array(flow, { minLength: 40, maxLength: 60 }),
    });
  });
