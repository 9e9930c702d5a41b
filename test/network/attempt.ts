import type { PlaceName } from './laboratory.ts';
import { bytesOf, etherTypes, frame, hexOf, type Packet, packet, protocols } from './packets.ts';

/** What is known only when the job is there. */
export interface Surroundings {
  /** This machine's end of the job's network. */
  link: string;
  /** The job's address, and the machine's in its network. */
  own: string;
  gateway: string;
  /** The hardware address of the gateway. */
  gatewayHardware: string;
}

/**
 * `open`: it arrives and is answered. `refused`: it does not arrive anywhere, and the job is told at once. `lost`: it does not arrive,
 * and nobody is told. `answered ...`: the answer is this.
 */
export type Verdict = 'open' | 'refused' | 'lost' | `answered ${string}`;

export interface Attempt {
  name: string;
  verdict: Verdict;
  /** For `probe.pl`, without its first word. */
  text(around: Surroundings): string;
  /** How a witness would report it; nobody must. With `open`, whoever has the address must. */
  trace(around: Surroundings): string;
  at: PlaceName | 'machine';
}

const serverPort = 7000;
const typeOfPing = { 4: 8, 6: 128 } as const;
/** Hardware addresses. */
export const everybody = 'ff:ff:ff:ff:ff:ff';
export const ownHardware = '02:00:00:00:00:66';

export function tried(
  verdict: Verdict,
  kind: 'tcp' | 'udp' | 'ping',
  address: string,
  at: Attempt['at'],
  port = serverPort,
): Attempt {
  const version = address.includes(':') ? 6 : 4;
  const where = kind === 'ping' ? address : `${version === 6 ? `[${address}]` : address}:${port}`;
  const protocol = kind === 'ping' ? protocols[version === 4 ? 'icmp' : 'icmp6'] : protocols[kind];
  return {
    name: `${kind} ${where}`,
    verdict,
    at,
    text: () => `${kind} ${hexOf(address)}${kind === 'ping' ? '' : ` ${port}`}`,
    trace: () => `${protocol} ${seenAs(address)} ${kind === 'ping' ? typeOfPing[version] : port}`,
  };
}

export function atGateway(verdict: Verdict, kind: 'tcp' | 'udp', port: number): Attempt {
  return {
    name: `${kind} gateway:${port}`,
    verdict,
    at: 'machine',
    text: ({ gateway }) => `${kind} ${hexOf(gateway)} ${port}`,
    trace: ({ gateway }) => `${protocols[kind]} ${gateway} ${port}`,
  };
}

export function lookedUp(name: string, transport: 'udp' | 'tcp', answer: string, type = 1): Attempt {
  return {
    name: `lookup of ${name} over ${transport}${type === 1 ? '' : `, type ${type}`}`,
    verdict: `answered ${answer}`,
    at: 'machine',
    text: ({ gateway }) => `lookup ${hexOf(gateway)} ${transport} ${name} ${type}`,
    trace: () => 'none',
  };
}

export function sent(
  verdict: Verdict,
  name: string,
  at: Attempt['at'],
  content: (around: Surroundings) => Packet,
): Attempt {
  return {
    name,
    verdict,
    at,
    text: (around) => `packet ${packet(content(around)).toString('hex')}`,
    trace: (around) => traceOf(content(around)),
  };
}

export function framed(
  name: string,
  at: Attempt['at'],
  type: string,
  to: string,
  content: (around: Surroundings) => Packet,
): Attempt {
  return {
    name,
    verdict: 'lost',
    at,
    text: (around) => {
      const hardware = to === 'gateway' ? around.gatewayHardware : to;
      return `frame ${frame({ from: ownHardware, to: hardware }, type, content(around))}`;
    },
    trace: (around) =>
      type === etherTypes.ipv6 && at === 'machine' ? onMachine(content(around)) : traceOf(content(around)),
  };
}

export function plain(source: string, destination: string, protocol: number): Packet {
  return { source, destination, protocol, payload: Buffer.from('....attempt') };
}

function traceOf({ destination, protocol, payload }: Packet): string {
  return `${protocol} ${seenAs(destination)} ${endOf(protocol, payload)}`;
}

/** The witness on the machine gets IPv6 without its header. */
function onMachine({ protocol, payload }: Packet): string {
  return `${protocol} - ${endOf(protocol, payload)}`;
}

function endOf(protocol: number, payload: Buffer): number {
  if (protocol === protocols.icmp || protocol === protocols.icmp6) return payload[0] ?? 0;
  const hasPorts = [protocols.tcp, protocols.udp, protocols.sctp].some((one) => one === protocol);
  return hasPorts ? payload.readUInt16BE(2) : 0;
}

function seenAs(address: string): string {
  if (!address.includes(':')) return address;
  const bytes = bytesOf(address);
  return Array.from({ length: 8 }, (_, word) => bytes.readUInt16BE(word * 2).toString(16)).join(':');
}
