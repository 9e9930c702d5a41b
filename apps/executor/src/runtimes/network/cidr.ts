import { BlockList, isIP } from 'node:net';

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

export function isVersion4(cidr: string): boolean {
  return !cidr.includes(':');
}

/**
 * Tells whether an address is in one of some ranges, or is one of some addresses.
 * One list for each version: in a common one `::ffff:0:0/96` would hold every IPv4 address.
 */
export function inRanges(cidrs: readonly string[]): (address: string) => boolean {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const cidr of cidrs) {
    const [address = '', prefix] = cidr.split('/');
    const version = isVersion4(cidr) ? 'ipv4' : 'ipv6';
    if (prefix === undefined) lists[version].addAddress(address, version);
    else lists[version].addSubnet(address, Number(prefix), version);
  }
  return (address) => {
    const version = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    return lists[version].check(address, version);
  };
}
