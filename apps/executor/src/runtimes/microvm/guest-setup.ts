import { readFile } from 'node:fs/promises';
import { SandboxError } from '../runtime.ts';
import type { GuestChannel } from './channel/index.ts';
import { GuestCommandError, guestRun, guestScript } from './guest-run.ts';
import type { VmNetwork } from './network.ts';

export interface GuestSetup {
  network: VmNetwork | undefined;
  /** `host.docker.internal` names this machine. */
  addHostGateway: boolean;
  /** `EXECUTOR_VM_STARTUP_SCRIPT_PATH` */
  startupScriptPath: string | undefined;
}

/** Does what is the same for every job, in a guest that has just booted. */
export async function prepareGuest(channel: GuestChannel, signal: AbortSignal): Promise<void> {
  await guestScript(channel, prepareScript, [], { signal });
}

/** Gets a prepared guest ready for the steps of a job. @throws SandboxError when the startup script fails */
export async function setUpGuest(
  channel: GuestChannel,
  setup: GuestSetup,
  notice: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const { network } = setup;
  const address = network?.cidr.split('/')[0];
  const resolvConf = (network?.resolvers ?? []).map((server) => `nameserver ${server}\n`).join('');
  const hosts = [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost',
    `${address ?? '127.0.1.1'} kiln`,
    ...(setup.addHostGateway && network ? [`${network.gateway} host.docker.internal`] : []),
  ];
  const write = (path: string, text: string) => channel.writeFile(path, Buffer.from(text));
  await Promise.all([
    write('/etc/resolv.conf', resolvConf),
    write('/run/kiln/etc/resolv.conf', resolvConf),
    write('/run/kiln/etc/hosts', `${hosts.join('\n')}\n`),
    network && guestScript(channel, networkScript, [network.cidr, network.gateway], { signal }),
  ]);
  if (network && network.resolvers.length === 0)
    notice('this machine has no name server that steps could ask, so they cannot look up names');
  if (setup.startupScriptPath !== undefined) await runStartupScript(channel, setup.startupScriptPath, signal);
}

async function runStartupScript(channel: GuestChannel, path: string, signal: AbortSignal): Promise<void> {
  const inGuest = '/run/kiln/startup';
  await channel.writeFile(inGuest, await readFile(path), 0o700);
  try {
    await guestRun(channel, [inGuest], { signal });
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof GuestCommandError)) throw error;
    throw new SandboxError(`the startup script ${path} (EXECUTOR_VM_STARTUP_SCRIPT_PATH): ${error.message}`, {
      infrastructure: true,
      cause: error,
    });
  }
}

const prepareScript = `
mkdir -p /run/kiln/etc /run/kiln/steps /run/kiln/images /sys/fs/cgroup/job
echo kiln >/run/kiln/etc/hostname
for group in /sys/fs/cgroup /sys/fs/cgroup/job; do echo '+cpu +memory +pids' >"$group/cgroup.subtree_control"; done
# As in any container: low ports and ping for everybody.
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
ip link set lo up
`;

/** `$1` address with prefix length, `$2` gateway */
const networkScript = `
[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
ip addr add "$1" dev eth0
ip link set eth0 up
ip route add default via "$2"
`;
