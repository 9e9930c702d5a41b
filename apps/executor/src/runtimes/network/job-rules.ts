import { rulesetFor } from './network-rules.ts';
import { type AddressJudge, judgeOf, type NetworkPolicy } from './policy.ts';
import type { Resolver } from './resolver/index.ts';
import { instanceEndpoints, machineResolvers } from './resolvers.ts';
import { setRules } from './rules.ts';

/** What the networks of all jobs of an executor have in common. */
export interface JobNetworkOptions {
  instanceURL: URL;
  /** Checked and normalised by `parseCIDR`. */
  allowedCIDRs: readonly string[];
  /** Where this machine's end of jobs' networks is; undefined: in this process's own namespace. */
  networkNamespace: string | undefined;
  resolver: Resolver;
  /** Whom the resolver asks; undefined: this machine's name servers. */
  nameServers?: readonly string[] | undefined;
}

/** The network of one job: this machine's end of it is there, and nothing is in it yet. */
export interface JobNetwork {
  table: string;
  /** This machine's end. */
  link: string;
  /** This machine's address in it. */
  gateway: string;
  /** The job's own addresses. */
  sources: readonly string[];
  masquerade: boolean;
  /** It outlives this process. */
  outlives: boolean;
  /** Writes a line into the job's log. */
  notice(line: string): void;
}

export interface JobRules {
  closedBecause: AddressJudge;
  /** Whether lookups are answered on the gateway; not on a machine without any name server. */
  answersLookups: boolean;
}

/**
 * Has a job's lookups answered, and sets the rules of its network, in one transaction.
 * @throws NftError, ResolverError; nothing must be put into the network then
 */
export async function setJobRules(options: JobNetworkOptions, network: JobNetwork): Promise<JobRules> {
  const { networkNamespace, allowedCIDRs } = options;
  const { table, link, gateway, sources, masquerade } = network;
  const [endpoints, nameServers] = await Promise.all([
    instanceEndpoints(options.instanceURL, gateway),
    options.nameServers ?? machineResolvers(networkNamespace),
  ]);
  const policy: NetworkPolicy = { endpoints, allowedCIDRs };
  const answersLookups = nameServers.length > 0;
  const port = answersLookups
    ? await options.resolver.serve({
        job: table,
        lookups: { ...policy, gateway, sources, nameServers },
        networkNamespace,
        outlives: network.outlives,
        notice: network.notice,
      })
    : undefined;
  const lookups = port === undefined ? undefined : { gateway, port };
  await setRules(networkNamespace, rulesetFor({ ...policy, table, link, sources, lookups, masquerade }));
  return { closedBecause: judgeOf(policy), answersLookups };
}
