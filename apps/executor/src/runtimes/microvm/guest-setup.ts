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

/** Gets a guest that has just booted ready for steps. @throws SandboxError when the startup script fails */
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
  await guestScript(
    channel,
    setupScript,
    [resolvConf, `${hosts.join('\n')}\n`, network?.cidr ?? '', network?.gateway ?? ''],
    { signal },
  );
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

/** `$1` resolv.conf, `$2` hosts, `$3` address with prefix length or nothing, `$4` gateway */
const setupScript = `
mkdir -p /run/kiln/etc /run/kiln/steps /run/kiln/images /run/scratch/steps /sys/fs/cgroup/job
printf %s "$1" >/run/kiln/etc/resolv.conf
printf %s "$2" >/run/kiln/etc/hosts
echo kiln >/run/kiln/etc/hostname
cat /run/kiln/etc/resolv.conf >/etc/resolv.conf || true
for group in /sys/fs/cgroup /sys/fs/cgroup/job; do echo '+cpu +memory +pids' >"$group/cgroup.subtree_control"; done
chmod 0777 /work
# Of the file system, not of the repository.
rmdir /work/lost+found 2>/dev/null || true
# As in any container: low ports and ping for everybody.
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
ip link set lo up
if [ -n "$3" ]; then
  [ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
  for path in /sys/class/net/*; do
    name=\${path##*/}
    [ "$name" = lo ] || { ip addr add "$3" dev "$name"; ip link set "$name" up; }
  done
  ip route add default via "$4"
fi
`;
