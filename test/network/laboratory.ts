import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { rulesetFor } from '../../apps/executor/src/runtimes/network/network-rules.ts';
import { applyRules } from '../../apps/executor/src/runtimes/network/nft.ts';
import {
  forwardPackets,
  inNamespace,
  type NetworkNamespace,
  networkNamespace,
} from '../kit/network-namespace.ts';
import { hexOf } from './packets.ts';
import { probeProgram } from './probe.ts';

/**
 * The places around a machine whose jobs are watched, each a network namespace with servers and a witness of every packet that
 * arrives. The machine's own namespace is between them; nothing leads out of all this.
 */
export const placeNames = ['internet', 'corporate', 'metadata', 'otherJob'] as const;
export type PlaceName = (typeof placeNames)[number];

/** This machine's addresses, and those at each place; the first of each version is on the link between them. */
const places: Record<PlaceName, { link: string; near: string[]; addresses: string[] }> = {
  internet: {
    link: 'internet',
    near: ['203.0.113.254/24', '2001:db8::254/64'],
    addresses: ['203.0.113.1/24', '2001:db8::1/64', '203.0.113.53/24', '192.88.99.1/32'],
  },
  corporate: {
    link: 'corporate',
    near: ['10.9.0.254/24', 'fd12::254/64'],
    addresses: [
      ...['10.9.0.1/24', 'fd12::1/64', '10.9.0.9/24', '10.20.0.1/32', '172.16.9.1/32', '192.168.77.1/32'],
      ...['100.64.0.1/32', '198.18.0.1/32'],
    ],
  },
  metadata: {
    link: 'metadata',
    near: ['169.254.7.254/24', 'fd00:ec2::1/64'],
    addresses: [
      ...['169.254.7.7/24', 'fd00:ec2::254/64', '169.254.169.254/32', '168.63.129.16/32'],
      '100.100.100.200/32',
    ],
  },
  // As jobs' links are named.
  otherJob: { link: 'kbother', near: ['10.77.0.1/28'], addresses: ['10.77.0.2/28'] },
};

/** Of every place, and of this machine. */
const ports = ['7000', '3080', '80', '853', '53'];
const machinePorts = ['7000', '22', '53'];
const firstMarkerPort = 7900;

export interface Laboratory extends AsyncDisposable {
  /** What arrived, a line for each packet: protocol, destination, port. `machine`: what the firewall let through to it. */
  arrivals(): Promise<Record<PlaceName | 'machine', ReadonlySet<string>>>;
}

let markers = 0;

/** @param machine the namespace that jobs' networks are in */
export async function startLaboratory(machine: string): Promise<Laboratory> {
  await using made = new AsyncDisposableStack();
  const witnesses: Partial<Record<PlaceName | 'machine', Witness>> = {};
  await forwardPackets(machine);
  // As gullible as a machine can be.
  await inNamespace(machine, ['sh', '-c', 'echo 2 >/proc/sys/net/ipv6/conf/default/accept_ra']);
  for (const name of placeNames) {
    const place = made.use(await makePlace(machine, name));
    made.use(await startServers(place.path, ports, places[name].addresses));
    witnesses[name] = made.use(await startWitness(place.path, 'wire'));
  }
  await inNamespace(machine, ['ip', 'route', 'add', 'default', 'via', '203.0.113.1']);
  await inNamespace(machine, ['ip', '-6', 'route', 'add', 'default', 'via', '2001:db8::1']);
  await applyRules(machine, rulesetFor(otherJobRules));
  const own = placeNames.flatMap((name) => places[name].near);
  made.use(await startServers(machine, machinePorts, own));
  witnesses.machine = made.use(await startWitness(machine, 'host'));
  const complete = witnesses as Required<typeof witnesses>;
  const parts = made.move();
  return {
    async arrivals() {
      await sendMarkers(machine, complete);
      return Object.fromEntries(Object.entries(complete).map(([name, { seen }]) => [name, seen])) as Record<
        PlaceName | 'machine',
        ReadonlySet<string>
      >;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

/** The other job is under rules of its own, as all are. */
const otherJobRules = {
  table: 'kiln_00000000beef',
  link: places.otherJob.link,
  sources: ['10.77.0.2/32'],
  lookups: undefined,
  masquerade: false,
  endpoints: [],
  allowedCIDRs: [],
};

async function makePlace(machine: string, name: PlaceName): Promise<NetworkNamespace> {
  const { link, near, addresses } = places[name];
  const place = await networkNamespace();
  const command = (namespace: string, text: string) => inNamespace(namespace, ['ip', ...text.split(' ')]);
  const version = (cidr: string): string[] => (cidr.includes(':') ? ['nodad'] : []);
  await command(machine, `link add ${link} type veth peer name out netns ${place.pid}`);
  for (const cidr of near)
    await command(machine, ['addr add', cidr, 'dev', link, ...version(cidr)].join(' '));
  await command(machine, `link set ${link} up`);
  for (const cidr of addresses)
    await command(place.path, ['addr add', cidr, 'dev out', ...version(cidr)].join(' '));
  await command(place.path, 'link set out up');
  const gateway = hostOf(near[0]);
  const direct = hostOf(addresses[0]);
  for (const cidr of addresses.filter((one) => one.endsWith('/32')))
    await command(machine, `route add ${cidr} via ${direct}`);
  await command(place.path, `route add default via ${gateway}`);
  if (near[1] !== undefined) await command(place.path, `-6 route add default via ${hostOf(near[1])}`);
  return place;
}

function hostOf(cidr = ''): string {
  return cidr.split('/')[0] ?? '';
}

/** Services in a namespace. @param cidrs addresses of it, with prefix length */
export async function startServers(
  namespace: string,
  listening: readonly string[],
  cidrs: readonly string[],
): Promise<AsyncDisposable> {
  const command = [
    process.execPath,
    fileURLToPath(import.meta.resolve('./place.ts')),
    listening.join(','),
    cidrs.map(hostOf).join(','),
  ];
  const server = spawn('nsenter', [`--net=${namespace}`, '--', ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(server.stdout, 'data');
  return ended(server);
}

interface Witness extends AsyncDisposable {
  seen: ReadonlySet<string>;
}

async function startWitness(namespace: string, how: 'wire' | 'host'): Promise<Witness> {
  const program = join(import.meta.dirname, 'witness.pl');
  const child = spawn('nsenter', [`--net=${namespace}`, '--', 'perl', program, how], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const seen = new Set<string>();
  const lines = createInterface({ input: child.stdout });
  await once(lines, 'line');
  lines.on('line', (line) => seen.add(line));
  return { seen, ...ended(child) };
}

/** When a witness has seen what was sent last, it has seen what was sent before. */
async function sendMarkers(
  machine: string,
  witnesses: Record<PlaceName | 'machine', Witness>,
): Promise<void> {
  const targets = {
    ...Object.fromEntries(placeNames.map((name) => [name, hostOf(places[name].addresses[0])])),
    machine: '203.0.113.254',
  } as Record<PlaceName | 'machine', string>;
  const port = firstMarkerPort + markers++;
  for (const [name, { seen }] of Object.entries(witnesses)) {
    const address = targets[name as PlaceName | 'machine'];
    const marker = `17 ${address} ${port}`;
    const deadline = performance.now() + 30_000;
    while (!seen.has(marker)) {
      if (performance.now() > deadline) throw new Error(`the witness of ${name} sees nothing`);
      await probeProgram(machine, [`marker udp ${hexOf(address)} ${port}`]);
    }
  }
}

function ended(child: ReturnType<typeof spawn>): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
