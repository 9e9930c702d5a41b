import { isIPv6 } from 'node:net';

/** Packets and frames byte by byte, so that attempts can say what no program would. All results are hexadecimal. */

/** Numbers of protocols. */
export const protocols = {
  icmp: 1,
  igmp: 2,
  ipip: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  gre: 47,
  esp: 50,
  icmp6: 58,
  sctp: 132,
  experimental: 253,
} as const;

export interface Packet {
  source: string;
  destination: string;
  protocol: number;
  payload: Buffer;
  /** IPv4: flags and offset of a fragment, as in the header. */
  fragment?: number;
}

export function bytesOf(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const [left = '', right] = address.split('::');
  const words = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const [before, after] = [words(left), words(right)];
  const zeros = Array(8 - before.length - after.length).fill('0');
  return Buffer.from([...before, ...zeros, ...after].map((word) => word.padStart(4, '0')).join(''), 'hex');
}

export function hexOf(address: string): string {
  return bytesOf(address).toString('hex');
}

/** With its own header; of the version of its addresses. */
export function packet(fields: Packet): Buffer {
  return isIPv6(fields.destination) ? packet6(fields) : packet4(fields);
}

function packet4({ source, destination, protocol, payload, fragment = 0 }: Packet): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(0x4b4c, 4);
  header.writeUInt16BE(fragment, 6);
  header[8] = 64;
  header[9] = protocol;
  bytesOf(source).copy(header, 12);
  bytesOf(destination).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function packet6({ source, destination, protocol, payload }: Packet): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(payload.length, 4);
  header[6] = protocol;
  // What neighbours are told must come from the link itself.
  header[7] = 255;
  bytesOf(source).copy(header, 8);
  bytesOf(destination).copy(header, 24);
  return Buffer.concat([header, payload]);
}

export function udp(from: string, to: string, ports: { source?: number; destination: number }): Packet {
  const payload = Buffer.from('........attempt');
  payload.writeUInt16BE(ports.source ?? 40_000, 0);
  payload.writeUInt16BE(ports.destination, 2);
  payload.writeUInt16BE(payload.length, 4);
  payload.writeUInt16BE(0, 6);
  return checked({ source: from, destination: to, protocol: protocols.udp, payload }, 6);
}

/** @param flags 0x02: the first packet of a connection */
export function tcp(
  from: string,
  to: string,
  ports: { source?: number; destination: number },
  flags = 0x02,
): Packet {
  const payload = Buffer.alloc(20);
  payload.writeUInt16BE(ports.source ?? 40_000, 0);
  payload.writeUInt16BE(ports.destination, 2);
  payload.writeUInt32BE(1, 4);
  payload.writeUInt16BE(0x5000 | flags, 12);
  payload.writeUInt16BE(1024, 14);
  return checked({ source: from, destination: to, protocol: protocols.tcp, payload }, 16);
}

export function ping(from: string, to: string, id = 1): Packet {
  const is6 = isIPv6(to);
  const payload = Buffer.from([is6 ? 128 : 8, 0, 0, 0, 0, 0, 0, 1]);
  payload.writeUInt16BE(id, 4);
  return icmp(from, to, payload);
}

/** @param payload type, code, checksum, rest */
export function icmp(from: string, to: string, payload: Buffer): Packet {
  if (isIPv6(to)) return checked({ source: from, destination: to, protocol: protocols.icmp6, payload }, 2);
  payload.writeUInt16BE(checksum(payload), 2);
  return { source: from, destination: to, protocol: protocols.icmp, payload };
}

/** The beginning of an association. */
export function sctp(from: string, to: string, ports: { source?: number; destination: number }): Packet {
  const payload = Buffer.alloc(32);
  payload.writeUInt16BE(ports.source ?? 40_000, 0);
  payload.writeUInt16BE(ports.destination, 2);
  payload[12] = 1;
  payload.writeUInt16BE(20, 14);
  payload.writeUInt32BE(1, 16);
  payload.writeUInt32LE(crc32c(payload), 8);
  return { source: from, destination: to, protocol: protocols.sctp, payload };
}

/** A packet inside a packet of another protocol. */
export function tunnel(from: string, to: string, protocol: number, inner: Packet, header = ''): Packet {
  const payload = Buffer.concat([Buffer.from(header, 'hex'), packet(inner)]);
  return { source: from, destination: to, protocol, payload };
}

export const etherTypes = { ipv4: '0800', arp: '0806', vlan: '8100', ipv6: '86dd' } as const;

/** @param addresses hardware addresses such as `02:00:00:00:00:01` */
export function frame(
  addresses: { from: string; to: string },
  type: string,
  content: Buffer | Packet,
): string {
  const hardware = (address: string): string => address.replaceAll(':', '');
  const bytes = Buffer.isBuffer(content) ? content : packet(content);
  return `${hardware(addresses.to)}${hardware(addresses.from)}${type}${bytes.toString('hex')}`;
}

/** An answer that nobody asked for: this address is at that hardware. */
export function arpClaim(address: string, hardware: string): Buffer {
  const claim = `0001080006040002${hardware.replaceAll(':', '')}${hexOf(address)}ffffffffffff${hexOf(address)}`;
  return Buffer.from(claim, 'hex');
}

/** Writes the checksum over payload and addresses. */
function checked(fields: Packet, at: number): Packet {
  const { source, destination, protocol, payload } = fields;
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(payload.length, 0);
  tail.writeUInt32BE(protocol, 4);
  payload.writeUInt16BE(0, at);
  const sum = checksum(Buffer.concat([bytesOf(source), bytesOf(destination), tail, payload]));
  payload.writeUInt16BE(sum, at);
  return fields;
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2)
    sum += ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

function crc32c(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
