/** An address range that is not public, and what people call it. */
export interface NamedRange {
  cidr: string;
  name: string;
}

/** Never open, whatever is allowed: cloud metadata services hand out the machine's own credentials. */
export const metadataAddresses: readonly string[] = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '168.63.129.16',
  '100.100.100.200',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
];

/**
 * What a job may not reach unless the executor opens it. All other IPv4 addresses are public; of IPv6, only those of
 * {@link publicRange6} are. Documentation ranges are left alone: nobody has them.
 */
export const blockedRanges: readonly NamedRange[] = [
  { cidr: '0.0.0.0/8', name: 'unspecified addresses' },
  { cidr: '10.0.0.0/8', name: 'private range' },
  { cidr: '100.64.0.0/10', name: 'carrier-grade NAT range' },
  { cidr: '127.0.0.0/8', name: 'loopback range' },
  { cidr: '169.254.0.0/16', name: 'link-local range' },
  { cidr: '172.16.0.0/12', name: 'private range' },
  { cidr: '192.0.0.0/24', name: 'protocol range' },
  { cidr: '192.88.99.0/24', name: '6to4 relays' },
  { cidr: '192.168.0.0/16', name: 'private range' },
  // Benchmarking: used as a private range by some networks.
  { cidr: '198.18.0.0/15', name: 'benchmarking range' },
  { cidr: '224.0.0.0/4', name: 'multicast range' },
  { cidr: '240.0.0.0/4', name: 'reserved range' },
  { cidr: '::/127', name: 'loopback range' },
  // These lead to every IPv4 address, private ones too.
  { cidr: '::ffff:0:0/96', name: 'IPv4-mapped range' },
  { cidr: '64:ff9b::/96', name: 'NAT64 range' },
  { cidr: '64:ff9b:1::/48', name: 'NAT64 range' },
  { cidr: '2001::/32', name: 'Teredo range' },
  { cidr: '2002::/16', name: '6to4 range' },
  { cidr: 'fc00::/7', name: 'private range' },
  { cidr: 'fe80::/10', name: 'link-local range' },
  { cidr: 'fec0::/10', name: 'site-local range' },
  { cidr: 'ff00::/8', name: 'multicast range' },
];

/** All global unicast addresses of IPv6 that have been given out so far, and will be for long. */
export const publicRange6 = '2000::/3';
