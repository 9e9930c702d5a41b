import { z } from 'zod';
import { createResolver, setJobRules } from '../../runtimes/network/index.ts';
import { type Member, openMember } from './namespace-member.ts';

export interface Flow {
  protocol: 'tcp' | 'udp';
  address: string;
}

export interface MadeUpNetwork extends AsyncDisposable {
  /** Tries each flow from the job's place. @returns which came through, in the same order */
  attempt(flows: readonly Flow[]): Promise<boolean[]>;
}

/** Addresses of the machine itself in the made-up network: towards the job, and towards the outside. */
export const machineAddresses = ['10.62.0.17', '203.0.113.254'] as const;

const jobAddresses = ['10.62.0.18', 'fd62::2'] as const;

const port = 7000;
const setUpSeconds = 60;
const link = 'kbprobe';
/** Of both ends of the job's link. They are told to each other: the rules let no neighbour discovery pass. */
const hardware = { machine: '02:00:00:00:00:01', job: '02:00:00:00:00:02' };
const table = 'kiln_probe';

/**
 * Three network namespaces in a row: a job, a machine with the rules of jobs' networks, and an outside that has the given addresses.
 * Nothing of them touches this machine's own network, and nothing is left of them when their processes have ended.
 * @param allowedCIDRs as of `EXECUTOR_ALLOWED_CIDRS`
 * @throws Error when they cannot be made here
 */
export async function makeUpNetwork(
  outside: readonly string[],
  allowedCIDRs: readonly string[] = [],
): Promise<MadeUpNetwork> {
  const signal = AbortSignal.timeout(setUpSeconds * 1000);
  const members: Member[] = [];
  const open = async (program: string): Promise<Member> => {
    const member = await openMember(program, signal);
    members.push(member);
    return member;
  };
  const end = async (): Promise<void> => {
    await Promise.all(members.map((member) => member.end()));
  };
  try {
    const beyond = await open(server);
    const machine = await open(server);
    const job = await open(client);
    await machine.ip([
      `link add world type veth peer name out netns ${beyond.pid}`,
      'addr add 203.0.113.254/24 dev world',
      'addr add 2001:db8:1::254/64 dev world nodad',
      `link add ${link} address ${hardware.machine} type veth peer name up0 address ${hardware.job} netns ${job.pid}`,
      `addr add ${machineAddresses[0]}/28 dev ${link}`,
      `addr add fd62::1/64 dev ${link} nodad`,
      ...['lo', 'world', link].map((name) => `link set ${name} up`),
      `neigh add ${jobAddresses[1]} lladdr ${hardware.job} dev ${link} nud permanent`,
    ]);
    await beyond.ip([
      ...outside.map((address) => `addr add ${address}/${address.includes(':') ? 128 : 32} dev lo`),
      'addr add 203.0.113.253/24 dev out',
      'addr add 2001:db8:1::253/64 dev out nodad',
      'link set lo up',
      'link set out up',
      'route add default via 203.0.113.254',
      '-6 route add default via 2001:db8:1::254',
    ]);
    await machine.ip(['route add default via 203.0.113.253', '-6 route add default via 2001:db8:1::253']);
    await beyond.ask(outside);
    await machine.ask(machineAddresses);
    await machine.script(forward);
    await using resolver = createResolver(() => undefined);
    await setJobRules(
      {
        instanceURL: new URL('http://127.0.0.1'),
        allowedCIDRs,
        networkNamespace: machine.namespace,
        resolver,
        nameServers: [],
      },
      {
        table,
        link,
        gateway: machineAddresses[0],
        sources: jobAddresses,
        masquerade: false,
        outlives: false,
        notice: () => undefined,
      },
    );
    await job.ip([
      `addr add ${jobAddresses[0]}/28 dev up0`,
      `addr add ${jobAddresses[1]}/64 dev up0 nodad`,
      'link set up0 up',
      `neigh add fd62::1 lladdr ${hardware.machine} dev up0 nud permanent`,
      `route add default via ${machineAddresses[0]}`,
      '-6 route add default via fd62::1',
    ]);
    return {
      attempt: async (flows) =>
        z
          .array(z.boolean())
          .length(flows.length)
          .parse(await job.ask(flows)),
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

const forward = `
echo 1 >/proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
`;

/** Answers whoever comes, by TCP and UDP, on each address that it is told: an answer must come from where it was asked. */
const server = `
  const net = require('node:net');
  const dgram = require('node:dgram');
  const tcp = (address) => new Promise((resolve) => {
    net.createServer((socket) => socket.on('error', () => {}).end('here')).listen(${port}, address, resolve);
  });
  const udp = (address) => new Promise((resolve) => {
    const socket = dgram.createSocket(net.isIPv6(address) ? 'udp6' : 'udp4');
    socket.on('message', (_, from) => socket.send('here', from.port, from.address)).bind(${port}, address, resolve);
  });
  require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
    await Promise.all(JSON.parse(line).flatMap((address) => [tcp(address), udp(address)]));
    console.log('true');
  });
  process.stdin.on('end', () => process.exit());
  console.log('ready');
`;

/** Tries the flows of each line that it reads. */
const client = `
  const net = require('node:net');
  const dgram = require('node:dgram');
  const patience = 1000;
  const tcp = (address) => new Promise((resolve) => {
    const socket = net.connect({ host: address, port: ${port}, timeout: patience });
    const end = (open) => { socket.destroy(); resolve(open); };
    socket.on('data', () => end(true)).on('error', () => end(false)).on('timeout', () => end(false));
  });
  const udp = (address) => new Promise((resolve) => {
    const socket = dgram.createSocket(net.isIPv6(address) ? 'udp6' : 'udp4');
    const end = (open) => { clearTimeout(timer); socket.close(); resolve(open); };
    const timer = setTimeout(() => end(false), patience);
    socket.on('message', () => end(true)).on('error', () => end(false)).connect(${port}, address, (error) => error ? end(false) : socket.send('?'));
  });
  require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
    const flows = JSON.parse(line);
    const open = await Promise.all(flows.map(({ protocol, address }) => (protocol === 'tcp' ? tcp : udp)(address)));
    console.log(JSON.stringify(open));
  });
  process.stdin.on('end', () => process.exit());
  console.log('ready');
`;
