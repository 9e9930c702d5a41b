import { isIPv6 } from 'node:net';
import { isVersion4 } from './cidr.ts';
import type { NetworkPolicy } from './policy.ts';
import { blockedRanges, metadataAddresses, publicRange6 } from './ranges.ts';

export interface NetworkRules extends NetworkPolicy {
  table: string;
  /** This machine's end of the job's network. */
  link: string;
  /** The job's own addresses: packets from others are dropped, and all of a version of which it has none. */
  sources: readonly string[];
  /** Where on this machine the job's lookups are answered; undefined: nowhere. */
  lookups: { gateway: string; port: number } | undefined;
  /** Packets leave with the address of this machine. Docker does that for its own networks. */
  masquerade: boolean;
}

/** Why a flow was refused, as the rules tell it: a mark on its packets, kept with its destination. */
export const refusals = { address: 1, machine: 2, nameServer: 3, protocol: 4, flows: 5 } as const;

/** The sets that have a job's own addresses. */
export const sourceSets: readonly string[] = ['source4', 'source6'];

/** Names of all jobs' interfaces begin with this, in every runtime. */
const anyJob = 'kb*';
/** Of destinations that are remembered, for each kind. */
export const mostRefusals = 64;
/**
 * At once, for one job: the kernel has one table of connections for the whole machine, by default of 65,536 or more, and
 * whoever fills it cuts everybody off.
 */
export const mostFlows = 8192;
/**
 * Packets with lookups, a second: UDP has one for each, and the resolver answers no more; TCP has several. One process answers all
 * jobs, so that none may keep it busy.
 */
const lookupPackets = { udp: 220, tcp: 1000 } as const;
/** Of messages about refusals: the machine sends 1000 a second to all. */
const answersPerSecond = 50;
const withPorts = '{ tcp, udp, sctp, dccp, udplite }';

/**
 * The firewall of one job as one nftables table, so that one transaction sets it up and one command takes all of it away.
 * Whatever comes from the job's interface is refused unless a rule opens it; nobody else's packets are judged. What it lets
 * pass still goes through the machine's other rules (`machine-firewall.ts`). Refused flows are answered at once and noted, with the reason, in the sets `refused*`.
 * The chain `present` is never entered: its rule makes the whole transaction fail when the interface
 * is not in this network namespace, where the rules would protect nothing.
 */
export function rulesetFor(rules: NetworkRules): string {
  const link = JSON.stringify(rules.link);
  const single = rules.allowedCIDRs.filter((cidr) => /\/(32|128)$/.test(cidr));
  return `table inet ${rules.table} {
  counter sent { }
  counter received { }
  ${[4, 6].map(noteSets).join('\n  ')}
  ${addressSets('metadata', metadataAddresses)}
  ${addressSets(
    'blocked',
    blockedRanges.map(({ cidr }) => cidr),
  )}
  ${addressSets('allowed', rules.allowedCIDRs)}
  ${addressSets('single', single)}
  ${addressSets('source', rules.sources)}
  chain present { iif ${link} drop; }
  chain source {
    type filter hook prerouting priority raw; policy accept;
${sourceRules(link).map(indented).join('')}  }
  chain refuse {
    meta nfproto ipv4 meta l4proto ${withPorts} add @refused4 { ip daddr . meta l4proto . th dport . meta mark }
    meta nfproto ipv6 meta l4proto ${withPorts} add @refused6 { ip6 daddr . meta l4proto . th dport . meta mark }
    meta nfproto ipv4 meta l4proto != ${withPorts} add @refusedOther4 { ip daddr . meta l4proto . meta mark }
    meta nfproto ipv6 meta l4proto != ${withPorts} add @refusedOther6 { ip6 daddr . meta l4proto . meta mark }
    meta l4proto tcp reject with tcp reset
    limit rate ${answersPerSecond}/second burst ${answersPerSecond} packets reject with icmpx type admin-prohibited
    drop
  }
  chain metadata {
    ip daddr @metadata4 ${refuse('address')}
    ip6 daddr @metadata6 ${refuse('address')}
  }
  chain pass {
    ct state invalid drop
    ct state { established, related } counter name sent accept
    ct count over ${mostFlows} ${refuse('flows')}
    meta l4proto { tcp, udp } counter name sent accept
    icmp type echo-request counter name sent accept
    icmpv6 type echo-request counter name sent accept
    ${refuse('protocol')}
  }
  chain outgoing {
    type filter hook forward priority -20; policy accept;
    iifname != ${link} accept
${endpointRules(rules, 'goto pass')}    jump metadata
    oifname "${anyJob}" ${refuse('machine')}
    ip daddr @allowed4 goto pass
    ip6 daddr @allowed6 goto pass
    ip daddr @blocked4 ${refuse('address')}
    ip6 daddr @blocked6 ${refuse('address')}
    meta l4proto { tcp, udp } th dport { 53, 853 } ${refuse('nameServer')}
    meta nfproto ipv4 goto pass
    ip6 daddr ${publicRange6} goto pass
    ${refuse('address')}
  }
  chain incoming {
    type filter hook forward priority -10; policy accept;
    oifname != ${link} accept
    ct state { established, related } counter name received accept
    drop
  }
  chain local {
    type filter hook input priority -20; policy accept;
${lookupRules(rules, link).map(indented).join('')}    iifname != ${link} accept
${endpointRules(rules, 'accept')}    jump metadata
    ip daddr @single4 accept
    ip6 daddr @single6 accept
    ${refuse('machine')}
  }
${translations(rules, link)}}
`;
}

function endpointRules({ endpoints }: NetworkRules, verdict: string): string {
  return endpoints
    .map(({ address, port }) => indented(`${destination(address)} tcp dport ${port} ${verdict}`))
    .join('');
}

/** What a job may not even seem to be; refused without an answer, which would go to somebody else. */
function sourceRules(link: string): string[] {
  return ['ip saddr != @source4', 'ip6 saddr != @source6'].map((forged) => `iifname ${link} ${forged} drop`);
}

/** Lookups are answered on a port of their own: 53 may be taken on this machine. Nobody else is answered. */
function lookupRules({ lookups }: NetworkRules, link: string): string[] {
  if (lookups === undefined) return [];
  const { gateway, port } = lookups;
  return (['udp', 'tcp'] as const).flatMap((protocol) => {
    const place = `ip daddr ${gateway} ${protocol} dport ${port}`;
    const rate = lookupPackets[protocol];
    return [
      `${place} iifname ${link} limit rate over ${rate}/second burst ${rate} packets drop`,
      `${place} iifname ${link} accept`,
      `${place} iifname != "lo" drop`,
    ];
  });
}

function translations({ lookups, masquerade, sources }: NetworkRules, link: string): string {
  const lookup = lookups && [
    'type nat hook prerouting priority dstnat; policy accept;',
    `iifname ${link} ip daddr ${lookups.gateway} meta l4proto { tcp, udp } th dport 53 redirect to :${lookups.port}`,
  ];
  const leaving = masquerade && [
    'type nat hook postrouting priority srcnat; policy accept;',
    `ip saddr { ${sources.filter(isVersion4).join(', ')} } oifname != ${link} masquerade`,
  ];
  const chain = (name: string, lines: readonly string[]): string =>
    `  chain ${name} {\n${lines.map(indented).join('')}  }\n`;
  return `${lookup ? chain('lookup', lookup) : ''}${leaving ? chain('leaving', leaving) : ''}`;
}

function refuse(reason: keyof typeof refusals): string {
  return `meta mark set ${refusals[reason]} goto refuse`;
}

function noteSets(version: number): string {
  const address = `ipv${version}_addr . inet_proto`;
  const rest = `mark; size ${mostRefusals}; flags dynamic;`;
  return `set refused${version} { type ${address} . inet_service . ${rest} }
  set refusedOther${version} { type ${address} . ${rest} }`;
}

function addressSets(name: string, cidrs: readonly string[]): string {
  const set = (version: number): string => {
    const elements = cidrs.filter((cidr) => isVersion4(cidr) === (version === 4));
    const content = elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} };`;
    return `set ${name}${version} { type ipv${version}_addr; flags interval; auto-merge;${content} }`;
  };
  return [4, 6].map(set).join('\n  ');
}

function destination(address: string): string {
  return isIPv6(address) ? `ip6 daddr ${address}` : `ip daddr ${address}`;
}

function indented(line: string): string {
  return `    ${line}\n`;
}
