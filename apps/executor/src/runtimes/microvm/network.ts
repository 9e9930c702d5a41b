import { HostCommandError, hostCommand } from '../host-command.ts';
import {
  type AddressJudge,
  chooseSubnet,
  endPassing,
  forgetConnections,
  type JobNetworkOptions,
  NftError,
  parseRoutes,
  passFirewall,
  removeRules,
  routeTable,
  setJobRules,
} from '../network/index.ts';
import { SandboxError } from '../runtime.ts';
import type { VmNames } from './names.ts';
import type { VmInterface } from './vmm/index.ts';

export interface NetworkOptions extends JobNetworkOptions {
  /** Bytes per second into and out of each VM; 0: no limit. */
  bandwidth: { ingress: number; egress: number };
}

export interface VmNetwork {
  /** Of the guest, with prefix length. */
  cidr: string;
  /** This machine's own address in this network. */
  gateway: string;
  /** Whom the guest asks for names: the gateway, or nobody. */
  resolvers: readonly string[];
  closedBecause: AddressJudge;
}

const tapName = 'tap0';

/** The network interface of a VM. Unconnected: it leads nowhere. */
export function vmInterface(
  names: Pick<VmNames, 'sandbox'>,
  network: Pick<NetworkOptions, 'bandwidth'> | 'unconnected',
): VmInterface {
  return {
    tap: tapName,
    // 02: locally administered.
    mac: ['02', ...(names.sandbox.slice(0, 10).match(/../g) ?? [])].join(':'),
    bandwidth: network === 'unconnected' ? { ingress: 0, egress: 0 } : network.bandwidth,
  };
}

/**
 * Makes the network of one VM: a pair of interfaces, of which one end stays on this machine, under the job's rules, while the other is
 * bridged to the VM's tap in the namespace of its VMM. So the rules also hold for a guest that has taken over its VMM.
 * @param vmm the process whose namespace is joined
 * @param job `outlives`: its VM outlives this process
 * @throws SandboxError when rules cannot be set: a VM never runs in an open network
 */
export async function makeNetwork(
  names: VmNames,
  vmm: { pid: number; networkNamespace: string },
  options: NetworkOptions,
  job: { outlives: boolean; notice(line: string): void },
): Promise<VmNetwork> {
  const host = { networkNamespace: options.networkNamespace };
  const subnet = chooseSubnet(parseRoutes(await routeTable(options.networkNamespace)));
  if (subnet === undefined)
    throw new SandboxError(
      'this machine has routes to all of 10.62.0.0/16, 172.29.0.0/16 and 192.168.240.0/20, so there is no range left for a VM: run jobs with network "none", or use another machine',
      { infrastructure: true },
    );
  const bits = subnet.cidr.split('/')[1];
  const guest = nextAddress(subnet.gateway);
  try {
    await ip(host, [
      `link add ${names.link} type veth peer name up0 netns ${vmm.pid}`,
      `addr add ${subnet.gateway}/${bits} dev ${names.link}`,
    ]);
    const { closedBecause, answersLookups } = await setJobRules(options, {
      table: names.table,
      link: names.link,
      gateway: subnet.gateway,
      sources: [`${guest}/32`],
      masquerade: true,
      ...job,
    });
    await settings(options.networkNamespace, names.link);
    await ip(host, [`link set ${names.link} up`]);
    await ip({ networkNamespace: vmm.networkNamespace }, [
      'link add br0 type bridge',
      tapCommand(names),
      ...['up0', tapName].flatMap((link) => [`link set ${link} master br0`, `link set ${link} up`]),
      'link set br0 up',
    ]);
    await limitBandwidth(host, names.link, options.bandwidth.ingress);
    await limitBandwidth({ networkNamespace: vmm.networkNamespace }, 'up0', options.bandwidth.egress);
    await passFirewall(names.link, 'all', options.networkNamespace);
    const resolvers = answersLookups ? [subnet.gateway] : [];
    return { cidr: `${guest}/${bits}`, gateway: subnet.gateway, resolvers, closedBecause };
  } catch (error) {
    throw networkError(error);
  }
}

/** The VM's end alone: a network interface of the guest that leads nowhere. */
export async function makeTap(names: Pick<VmNames, 'uid'>, vmm: { networkNamespace: string }): Promise<void> {
  try {
    await ip({ networkNamespace: vmm.networkNamespace }, [tapCommand(names)]);
  } catch (error) {
    throw networkError(error);
  }
}

/** What is gone already is fine. The other end goes with the VMM's namespace. */
export async function removeNetwork(
  names: Pick<VmNames, 'link' | 'table'>,
  networkNamespace: string | undefined,
): Promise<void> {
  await forgetConnections(names.table, networkNamespace);
  try {
    await ip({ networkNamespace }, [`link del ${names.link}`]);
  } catch (error) {
    const isGone =
      error instanceof HostCommandError &&
      (error.missing || /cannot find device|no such file or directory/i.test(error.message));
    if (!isGone) throw error;
  }
  await endPassing(names.link, 'all', networkNamespace);
  await removeRules(names.table, networkNamespace);
}

function tapCommand({ uid }: Pick<VmNames, 'uid'>): string {
  return `tuntap add dev ${tapName} mode tap user ${uid} group ${uid}`;
}

async function settings(networkNamespace: string | undefined, link: string): Promise<void> {
  const lines = [
    'echo 1 >/proc/sys/net/ipv4/ip_forward',
    // Only about the gateway itself, not about this machine's other addresses.
    `echo 1 >/proc/sys/net/ipv4/conf/${link}/arp_ignore`,
    // Absent where the kernel has no IPv6.
    `[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/${link}/disable_ipv6`,
  ];
  await hostCommand(['sh', '-ec', lines.join('\n')], { networkNamespace });
}

async function limitBandwidth(
  where: { networkNamespace: string | undefined },
  link: string,
  bytesPerSecond: number,
): Promise<void> {
  if (bytesPerSecond === 0) return;
  // A hundredth of a second at full speed, and more than one large segment.
  const burst = Math.max(Math.round(bytesPerSecond / 100), 128 * 1024);
  const rate = ['rate', `${bytesPerSecond}bps`, 'burst', String(burst), 'latency', '100ms'];
  await hostCommand(['tc', 'qdisc', 'add', 'dev', link, 'root', 'tbf', ...rate], where);
}

async function ip(
  where: { networkNamespace: string | undefined },
  commands: readonly string[],
): Promise<void> {
  await hostCommand(['ip', '-batch', '-'], { ...where, input: `${commands.join('\n')}\n` });
}

function nextAddress(address: string): string {
  const parts = address.split('.').map(Number);
  return [...parts.slice(0, 3), (parts[3] ?? 0) + 1].join('.');
}

function networkError(error: unknown): SandboxError {
  const message = error instanceof Error ? error.message : String(error);
  const isMissing = (error instanceof NftError || error instanceof HostCommandError) && error.missing;
  const hint = isMissing
    ? ' (install nftables and iproute2)'
    : /not permitted/i.test(message)
      ? ' (the executor needs root, or CAP_NET_ADMIN)'
      : '';
  return new SandboxError(
    `the VM's network could not be made, and no job runs in an open network: ${message}${hint}. Jobs with network "none" need none.`,
    { infrastructure: true, cause: error },
  );
}
