import { z } from 'zod';
import { listTable } from './nft.ts';

export interface NetworkReport {
  /** Bytes that left and reached the job's network since it was made; with the machine itself not counted. */
  sentBytes: number;
  receivedBytes: number;
  /** `tcp 10.0.0.5:5432`, each refused destination once. */
  refused: string[];
}

const setSchema = z.object({
  set: z.object({ name: z.literal('refused'), elem: z.array(z.unknown()).optional() }),
});
const elementSchema = z.object({
  concat: z.tuple([z.string(), z.union([z.string(), z.number()]), z.union([z.string(), z.number()])]),
});
const counterSchema = z.object({ counter: z.object({ name: z.string(), bytes: z.number() }) });

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
      if (!parsed.success) continue;
      const [address, protocol, port] = parsed.data.concat;
      report.refused.push(`${protocolName(protocol)} ${address}:${port}`);
    }
  }
  return report;
}

function protocolName(protocol: string | number): string {
  if (String(protocol) === '6') return 'tcp';
  if (String(protocol) === '17') return 'udp';
  return String(protocol);
}
