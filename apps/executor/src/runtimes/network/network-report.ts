import { z } from 'zod';
import { listTable } from './nft.ts';

/** A destination that the rules of a job's network refused. */
export interface RefusedFlow {
  address: string;
  /** `tcp`, `icmp`, ...; the number of one without a name here. */
  protocol: string;
  /** Of protocols that have ports. */
  port?: number;
  /** One of `refusals`. */
  reason: number;
}

export interface NetworkReport {
  /** Bytes that left and reached the job's network since it was made; with the machine itself not counted. */
  sentBytes: number;
  receivedBytes: number;
  /** Each destination once. */
  refused: RefusedFlow[];
}

const number = z.union([z.string(), z.number()]);
const setSchema = z.object({
  set: z.object({ name: z.string().startsWith('refused'), elem: z.array(z.unknown()).optional() }),
});
const elementSchema = z.object({
  concat: z.union([z.tuple([z.string(), number, number, number]), z.tuple([z.string(), number, number])]),
});
const counterSchema = z.object({ counter: z.object({ name: z.string(), bytes: z.number() }) });

const protocolNames: Readonly<Record<string, string>> = {
  1: 'icmp',
  2: 'igmp',
  4: 'ipip',
  6: 'tcp',
  17: 'udp',
  33: 'dccp',
  41: 'ipv6',
  47: 'gre',
  50: 'esp',
  51: 'ah',
  58: 'icmpv6',
  132: 'sctp',
  136: 'udplite',
};

/** Reads what the rules of a job's network have counted and refused so far. */
export async function networkReport(
  table: string,
  networkNamespace: string | undefined,
): Promise<NetworkReport> {
  return parseNetworkReport(await listTable(networkNamespace, table));
}

export function parseNetworkReport(text: string): NetworkReport {
  const objects = z.object({ nftables: z.array(z.unknown()) }).parse(JSON.parse(text)).nftables;
  const report: NetworkReport = { sentBytes: 0, receivedBytes: 0, refused: [] };
  for (const object of objects) {
    const counter = counterSchema.safeParse(object);
    if (counter.success && counter.data.counter.name === 'sent')
      report.sentBytes = counter.data.counter.bytes;
    if (counter.success && counter.data.counter.name === 'received')
      report.receivedBytes = counter.data.counter.bytes;
    for (const element of setSchema.safeParse(object).data?.set.elem ?? []) {
      const parsed = elementSchema.safeParse(element);
      if (parsed.success) report.refused.push(flowOf(parsed.data.concat));
    }
  }
  return report;
}

function flowOf(parts: z.infer<typeof elementSchema>['concat']): RefusedFlow {
  const [address, protocol] = parts;
  const name = protocolNames[String(protocol)] ?? String(protocol);
  const flow = { address, protocol: name, reason: Number(parts.at(-1)) };
  return parts.length === 4 ? { ...flow, port: Number(parts[2]) } : flow;
}
