import { isIP, isIPv6 } from 'node:net';

export interface OpenEndpoint {
  address: string;
  port: number;
}

export interface NetworkRules {
  table: string;
  /** Name of the job's bridge. */
  bridge: string;
  /** Name servers of this machine; port 53 on them is open. */
  resolvers: readonly string[];
  /** TCP endpoints that are open although their address is blocked: the instance. */
  endpoints: readonly OpenEndpoint[];
  /** `EXECUTOR_ALLOWED_CIDRS`, checked by {@link parseCIDR}. */
  allowedCIDRs: readonly string[];
}

/** Never open, whatever is allowed: cloud metadata services hand out the machine's own credentials. */
const metadata4 = ['169.254.169.254', '169.254.170.2', '169.254.170.23', '168.63.129.16', '100.100.100.200'];
const metadata6 = ['fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'];

const blocked4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10', // carrier-grade NAT
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15', // benchmarking: used as a private range by some networks
  '224.0.0.0/3', // multicast, reserved, broadcast
];
const blocked6 = [
  '::/127', // unspecified and loopback
  '::ffff:0:0/96', // IPv4-mapped
  '64:ff9b::/96', // NAT64: leads to every IPv4 address, private ones too
  '64:ff9b:1::/48',
  '2002::/16', // 6to4, likewise
  'fc00::/7', // unique local
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
];

/**
 * The firewall of one job as one nftables table, so that one transaction sets it up and one command takes all of it away.
 * It only ever refuses: what it lets pass still goes through the machine's other rules. Traffic of every protocol and of
 * both IP versions from the job's bridge is judged; nobody else's is touched. Refused connections are answered at once and noted in the set
 * `refused`. The chain `present` is never entered: its rule makes the whole transaction fail when the bridge
 * is not in this network namespace, where the rules would protect nothing.
 */
export function rulesetFor(rules: NetworkRules): string {
  const single = rules.allowedCIDRs.filter((cidr) => /\/(32|128)$/.test(cidr));
  const bridge = JSON.stringify(rules.bridge);
  return `table inet ${rules.table} {
  counter sent { }
  counter received { }
  set refused { type ipv4_addr . inet_proto . inet_service; size 64; flags dynamic; }
  ${addressSet('metadata4', 'ipv4_addr', metadata4)}
  ${addressSet('metadata6', 'ipv6_addr', metadata6)}
  ${addressSet('blocked4', 'ipv4_addr', blocked4)}
  ${addressSet('blocked6', 'ipv6_addr', blocked6)}
  ${addressSet('allowed4', 'ipv4_addr', rules.allowedCIDRs.filter(isVersion4))}
  ${addressSet(
    'allowed6',
    'ipv6_addr',
    rules.allowedCIDRs.filter((cidr) => !isVersion4(cidr)),
  )}
  ${addressSet('single4', 'ipv4_addr', single.filter(isVersion4))}
  ${addressSet(
    'single6',
    'ipv6_addr',
    single.filter((cidr) => !isVersion4(cidr)),
  )}
  chain present { iif ${bridge} drop; }
  chain refuse {
    meta nfproto ipv4 meta l4proto { tcp, udp } add @refused { ip daddr . meta l4proto . th dport }
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }
  chain needed {
${[
  ...rules.endpoints.map(({ address, port }) => `${destination(address)} tcp dport ${port} accept`),
  ...rules.resolvers.map((address) => `${destination(address)} meta l4proto { tcp, udp } th dport 53 accept`),
]
  .map((rule) => `    ${rule}\n`)
  .join('')}    ip daddr @metadata4 goto refuse
    ip6 daddr @metadata6 goto refuse
  }
  chain passing {
    type filter hook forward priority -10; policy accept;
    oifname ${bridge} counter name received
    oifname ${bridge} ct state new drop
    iifname != ${bridge} accept
    jump needed
    ip daddr @allowed4 counter name sent accept
    ip6 daddr @allowed6 counter name sent accept
    ip daddr @blocked4 goto refuse
    ip6 daddr @blocked6 goto refuse
    counter name sent
  }
  chain local {
    type filter hook input priority -10; policy accept;
    iifname != ${bridge} accept
    jump needed
    ip daddr @single4 accept
    ip6 daddr @single6 accept
    goto refuse
  }
}
`;
}

/**
 * Checks a range such as `10.1.0.0/16`, `fd12::/32` or a single address, and writes it with its prefix length.
 * @throws RangeError naming the text
 */
export function parseCIDR(text: string): string {
  const [address = '', prefix, ...rest] = text.trim().split('/');
  const version = isIP(address);
  const bits = version === 4 ? 32 : 128;
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (version === 0 || address.includes('%') || rest.length > 0 || !(length <= bits))
    throw new RangeError(
      `${JSON.stringify(text)} is not an address range such as "10.1.0.0/16" or "fd12::/32"`,
    );
  return `${address}/${length}`;
}

function addressSet(name: string, type: string, elements: readonly string[]): string {
  const content = elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} };`;
  return `set ${name} { type ${type}; flags interval; auto-merge;${content} }`;
}

function isVersion4(cidr: string): boolean {
  return !cidr.includes(':');
}

function destination(address: string): string {
  return isIPv6(address) ? `ip6 daddr ${address}` : `ip daddr ${address}`;
}
