import {
  type AddressJudge,
  chooseSubnet,
  endPassing,
  forgetConnections,
  isWithoutInterface,
  type JobNetworkOptions,
  NftError,
  parseRoutes,
  passFirewall,
  removeRules,
  routeTable,
  setJobRules,
} from '../network/index.ts';
import { SandboxError } from '../runtime.ts';
import { type Engine, enginePath } from './engine.ts';
import { EngineError, isGone } from './engine-errors.ts';
import { labelsOf, type SandboxNames } from './names.ts';

export interface DockerNetwork {
  /** The machine's own address in this network, where lookups are answered too. */
  gateway: string;
  closedBecause: AddressJudge;
}

const subnetTries = 8;

/**
 * Makes a job's own network, and its rules before anything can be in it.
 * @throws SandboxError when rules cannot be set: a job never runs in an open network
 */
export async function createNetwork(
  engine: Engine,
  names: SandboxNames,
  options: JobNetworkOptions,
  notice: (line: string) => void,
): Promise<DockerNetwork> {
  const { cidr, gateway } = await createBridge(engine, names, options);
  try {
    const { closedBecause } = await setJobRules(options, {
      table: names.table,
      link: names.bridge,
      gateway,
      sources: [cidr],
      masquerade: false,
      outlives: false,
      notice,
    });
    await passFirewall(names.bridge, 'local', options.networkNamespace);
    return { gateway, closedBecause };
  } catch (error) {
    throw rulesError(error);
  }
}

/** Takes a job's network and its rules away; what is gone already is fine. The rules go last. */
export async function removeNetwork(
  engine: Engine,
  names: Pick<SandboxNames, 'network' | 'bridge' | 'table'>,
  networkNamespace: string | undefined,
): Promise<void> {
  await forgetConnections(names.table, networkNamespace);
  try {
    await engine.send({
      method: 'DELETE',
      path: `/networks${enginePath(names.network)}`,
      deadlineSeconds: 30,
    });
  } catch (error) {
    if (!isGone(error)) throw error;
  }
  await endPassing(names.bridge, 'local', networkNamespace);
  await removeRules(names.table, networkNamespace);
}

async function createBridge(
  engine: Engine,
  names: SandboxNames,
  options: JobNetworkOptions,
): Promise<{ cidr: string; gateway: string }> {
  for (let attempt = 1; ; attempt++) {
    const subnet = chooseSubnet(parseRoutes(await routeTable(options.networkNamespace)));
    if (subnet === undefined)
      throw new SandboxError(
        'this machine has routes to all of 10.62.0.0/16, 172.29.0.0/16 and 192.168.240.0/20, so there is no range left for a job network: run jobs with network "none", or use another machine',
        { infrastructure: true },
      );
    try {
      await engine.send({
        method: 'POST',
        path: '/networks/create',
        body: {
          Name: names.network,
          CheckDuplicate: true,
          Driver: 'bridge',
          EnableIPv6: false,
          IPAM: { Driver: 'default', Config: [{ Subnet: subnet.cidr, Gateway: subnet.gateway }] },
          Options: {
            'com.docker.network.bridge.name': names.bridge,
            'com.docker.network.bridge.enable_icc': 'false',
            'com.docker.network.bridge.enable_ip_masquerade': 'true',
          },
          Labels: labelsOf(names),
        },
        deadlineSeconds: 60,
      });
      return subnet;
    } catch (error) {
      const isTaken = error instanceof EngineError && /overlaps|conflicts with network/i.test(error.message);
      if (isTaken && attempt < subnetTries) continue;
      throw networkError(error);
    }
  }
}

function networkError(error: unknown): SandboxError {
  if (error instanceof SandboxError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const hint = /iptables/i.test(message)
    ? ' (the daemon must manage iptables: it must not run with --iptables=false)'
    : '';
  return new SandboxError(`the job's network could not be made: ${message}${hint}`, {
    infrastructure: true,
    cause: error,
  });
}

function rulesError(error: unknown): SandboxError {
  const message = error instanceof Error ? error.message : String(error);
  const reason =
    error instanceof NftError && error.missing
      ? `${message}: install it (apt-get install nftables)`
      : isWithoutInterface(error)
        ? "the Docker daemon's networks are not in this executor's network namespace, nor can its own be seen: run the executor as root and, if it runs in a container, with --network host --pid host"
        : /not permitted/i.test(message)
          ? `${message}: the executor needs root, or CAP_NET_ADMIN`
          : message;
  return new SandboxError(
    `the firewall rules of the job's network could not be set, and no job runs in an open network. ${reason}. Jobs with network "none" need no rules.`,
    { infrastructure: true, cause: error },
  );
}
