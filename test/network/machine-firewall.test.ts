import { afterAll, beforeAll, expect, test } from 'vitest';
import { vmNames } from '../../apps/executor/src/runtimes/microvm/names.ts';
import {
  makeNetwork,
  removeNetwork,
  type VmNetwork,
} from '../../apps/executor/src/runtimes/microvm/network.ts';
import { createResolver, type Resolver } from '../../apps/executor/src/runtimes/network/index.ts';
import { inNamespace, type NetworkNamespace, networkNamespace } from '../kit/network-namespace.ts';
import { type NetworkWorld, startNetworkWorld } from '../kit/network-world.ts';
import { startServers } from './laboratory.ts';
import { probeProgram } from './probe.ts';

/** A machine that, as with ufw and Docker, drops what no rule of its own accepts; and jobs' networks without VMs on them. */
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
  resolver = createResolver(() => undefined);
});
afterAll(async () => {
  await resolver?.[Symbol.asyncDispose]();
  await servers?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
  await machine?.[Symbol.asyncDispose]();
});

test('nothing of a network stays, also when its removal was interrupted', async () => {
  const before = await inNamespace(machine.path, ['iptables', '-S']);
  const network = await jobNetwork();
  expect(await inNamespace(machine.path, ['iptables', '-S'])).toContain(network.link);
  await inNamespace(machine.path, [...['iptables', '-D', 'DOCKER-USER', '-i', network.link, '-j', 'ACCEPT']]);
  await network[Symbol.asyncDispose]();
  expect(await inNamespace(machine.path, ['iptables', '-S'])).toBe(before);
});

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
