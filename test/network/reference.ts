/**
 * What a job may reach, told once more from the written policy (docs/executor.md) and not from the code: addresses are numbers, ranges
 * are compared by division, and nothing of the executor is used.
 */
export interface ReferencePolicy {
  allowed: readonly string[];
  endpoints: readonly { address: string; port: number }[];
  /** Addresses of the machine itself. */
  machine: readonly string[];
}

export interface Flow {
  protocol: 'tcp' | 'udp' | 'sctp' | 'ping';
  destination: string;
  /** 0 for a ping. */
  port: number;
}

/** Cloud metadata services. */
export const neverOpen = [
  ...['169.254.169.254', '169.254.170.2', '169.254.170.23', '168.63.129.16', '100.100.100.200'],
  ...['fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'],
];
/** By RFC 6890 and its followers; what is private, local, special or leads around the rules. */
export const notPublic = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '224.0.0.0/4', '240.0.0.0/4'],
  ...['2001::/32', '2002::/16'],
];
const globalUnicast = '2000::/3';

/** Whether the packet that opens a flow is passed on, or let in to the machine. */
export function isOpen(policy: ReferencePolicy, { protocol, destination, port }: Flow): boolean {
  const isEndpoint = policy.endpoints.some((one) => one.address === destination && one.port === port);
  if (isEndpoint && protocol === 'tcp') return true;
  if (neverOpen.some((address) => numberOf(address) === numberOf(destination))) return false;
  if (policy.machine.includes(destination))
    return policy.allowed.some((cidr) => isSingle(cidr) && isWithin(destination, cidr));
  if (protocol === 'sctp') return false;
  if (policy.allowed.some((cidr) => isWithin(destination, cidr))) return true;
  if (notPublic.some((cidr) => isWithin(destination, cidr))) return false;
  if (destination.includes(':') && !isWithin(destination, globalUnicast)) return false;
  return !((protocol === 'tcp' || protocol === 'udp') && (port === 53 || port === 853));
}

/** First and last address of a range. */
export function endsOf(cidr: string): [bigint, bigint] {
  const [address = '', length = ''] = cidr.split('/');
  const size = 2n ** BigInt((address.includes(':') ? 128 : 32) - Number(length));
  const first = (numberOf(address) / size) * size;
  return [first, first + size - 1n];
}

export function addressOf(number: bigint, version: 4 | 6): string {
  if (version === 4) return [24n, 16n, 8n, 0n].map((bits) => (number >> bits) & 255n).join('.');
  const words = Array.from({ length: 8 }, (_, word) => (number >> BigInt(112 - 16 * word)) & 0xffffn);
  return words.map((word) => word.toString(16)).join(':');
}

export function numberOf(address: string): bigint {
  if (!address.includes(':'))
    return address.split('.').reduce((number, part) => number * 256n + BigInt(part), 0n);
  const [before = '', after = ''] = address.split('::');
  const words = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [left, right] = [words(before), words(after)];
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return all.reduce((number, word) => number * 65_536n + BigInt(`0x${word}`), 0n);
}

function isWithin(address: string, cidr: string): boolean {
  if (address.includes(':') !== cidr.includes(':')) return false;
  const [first, last] = endsOf(cidr);
  const number = numberOf(address);
  return first <= number && number <= last;
}

function isSingle(cidr: string): boolean {
  return /\/(32|128)$/.test(cidr);
}
