import { afterAll, beforeAll, expect, test } from 'vitest';
import { vmNames } from '../../apps/executor/src/runtimes/microvm/names.ts';
import {
  makeNetwork,
  removeNetwork,
  type VmNetwork,
} from '../../apps/executor/src/runtimes/microvm/network.ts';
import { createResolver, type Resolver } from '../../apps/executor/src/runtimes/network/index.ts';
import { applyRules } from '../../apps/executor/src/runtimes/network/nft.ts';
import { inNamespace, type NetworkNamespace, networkNamespace } from '../kit/network-namespace.ts';
import { type NetworkWorld, startNetworkWorld, worldAddresses, worldPort } from '../kit/network-world.ts';
import { startServers } from './laboratory.ts';
import { hexOf } from './packets.ts';
import { probeProgram } from './probe.ts';

/** A machine that drops what no rule of its own accepts, as with ufw and Docker, and in an nftables table too; and jobs' networks without VMs on them. */
let machine: NetworkNamespace;
let world: NetworkWorld;
let servers: AsyncDisposable;
let resolver: Resolver;

beforeAll(async () => {
  machine = await networkNamespace();
  world = await startNetworkWorld(machine.path);
  await inNamespace(machine.path, ['ip', 'addr', 'add', '127.0.0.53/32', 'dev', 'lo']);
  servers = await startServers(machine.path, ['53', '7000'], ['127.0.0.53/8']);
  for (const rule of [
    ...['INPUT', 'FORWARD'].map((chain) => `-P ${chain} DROP`),
    '-A INPUT -i lo -j ACCEPT',
    '-N DOCKER-USER',
    '-A FORWARD -j DOCKER-USER',
  ])
    await inNamespace(machine.path, ['iptables', ...rule.split(' ')]);
  await applyRules(machine.path, ownRules);
  resolver = createResolver(() => undefined);
});
afterAll(async () => {
  await resolver?.[Symbol.asyncDispose]();
  await servers?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
  await machine?.[Symbol.asyncDispose]();
});

/** With the exceptions that docs/executor.md asks for. */
const ownRules = `table inet own {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname { "lo", "kb*" } accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "kb*" accept
    oifname "kb*" accept
  }
}`;

test('a job has its lookups answered and reaches public addresses, and not the machine', async () => {
  await using network = await jobNetwork();
  const own = hexOf(network.gateway);
  const outcomes = await network.attempt([
    `udp lookup ${own} udp public.test 1`,
    `tcp lookup ${own} tcp public.test 1`,
    `public tcp ${hexOf(worldAddresses.open)} ${worldPort}`,
    `machine tcp ${own} 7000`,
  ]);
  expect(Object.fromEntries(outcomes)).toEqual({
    udp: '203.0.113.1',
    tcp: '203.0.113.1',
    public: 'answered',
    machine: 'refused',
  });
});

test('nothing of a network stays, also when its removal was interrupted', async () => {
  const before = await inNamespace(machine.path, ['iptables', '-S']);
  const network = await jobNetwork();
  expect(await inNamespace(machine.path, ['iptables', '-S'])).toContain(network.link);
  await inNamespace(machine.path, [...['iptables', '-D', 'DOCKER-USER', '-i', network.link, '-j', 'ACCEPT']]);
  await network[Symbol.asyncDispose]();
  expect(await inNamespace(machine.path, ['iptables', '-S'])).toBe(before);
});

test("the kernel forgets a job's connections, and no other's, when the network goes", async () => {
  await using other = await jobNetwork();
  const network = await jobNetwork();
  for (const { attempt, gateway } of [network, other])
    await attempt([
      `public tcp ${hexOf(worldAddresses.open)} ${worldPort}`,
      `udp lookup ${hexOf(gateway)} udp public.test 1`,
    ]);
  expect(await connectionsOf(network)).toBe(2);
  expect(await connectionsOf(other)).toBe(2);
  await network[Symbol.asyncDispose]();
  expect(await connectionsOf(network)).toBe(0);
  expect(await connectionsOf(other)).toBe(2);
});

/** How many the kernel remembers. */
async function connectionsOf({ cidr }: VmNetwork): Promise<number> {
  const [address = ''] = cidr.split('/');
  return (await inNamespace(machine.path, ['conntrack', '-L', '-s', address])).split('\n').length - 1;
}

interface JobNetwork extends VmNetwork, AsyncDisposable {
  link: string;
  attempt(attempts: readonly string[]): Promise<Map<string, string>>;
}

/** The network of a VM, in whose place is the bridge that it would be on. */
async function jobNetwork(): Promise<JobNetwork> {
  await using made = new AsyncDisposableStack();
  const names = vmNames({ executor: 'test', job: 1, attempt: 1 }, 'test', '/nowhere');
  const vmm = made.use(await networkNamespace());
  made.defer(() => removeNetwork(names, machine.path));
  const network = await makeNetwork(
    names,
    { pid: vmm.pid, networkNamespace: vmm.path },
    {
      instanceURL: new URL('http://127.0.0.1'),
      allowedCIDRs: [],
      networkNamespace: machine.path,
      resolver,
      nameServers: ['127.0.0.53'],
      bandwidth: { ingress: 0, egress: 0 },
    },
    { outlives: false, notice: () => undefined },
  );
  await inNamespace(vmm.path, ['ip', 'addr', 'add', network.cidr, 'dev', 'br0']);
  await inNamespace(vmm.path, ['ip', 'route', 'add', 'default', 'via', network.gateway]);
  const parts = made.move();
  return {
    ...network,
    link: names.link,
    attempt: (attempts) => probeProgram(vmm.path, attempts),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
