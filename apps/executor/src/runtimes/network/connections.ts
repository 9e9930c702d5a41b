import { z } from 'zod';
import { HostCommandError, hostCommand } from '../host-command.ts';
import type { Finding } from '../runtime.ts';
import { sourceSets } from './network-rules.ts';
import { listTable, NftError } from './nft.ts';

const addressSchema = z.union([
  z.string(),
  z.object({ prefix: z.object({ addr: z.string(), len: z.int() }) }),
]);
const setSchema = z.object({ set: z.object({ name: z.string(), elem: z.array(addressSchema) }) });

/**
 * Has the kernel forget a job's connections, before its addresses can be another's: they would stay for days, in a table of the whole
 * machine. Without the program `conntrack` they do.
 * @param table of the job, which has its addresses; what is gone already is fine
 */
export async function forgetConnections(table: string, networkNamespace: string | undefined): Promise<void> {
  for (const source of await sourcesOf(table, networkNamespace)) {
    const family = source.includes(':') ? 'ipv6' : 'ipv4';
    try {
      await hostCommand(['conntrack', '-D', '-f', family, '-s', source], { networkNamespace });
    } catch (error) {
      // It also fails when there are none.
      if (!(error instanceof HostCommandError)) throw error;
    }
  }
}

async function sourcesOf(table: string, networkNamespace: string | undefined): Promise<string[]> {
  let text: string;
  try {
    text = await listTable(networkNamespace, table);
  } catch (error) {
    if (error instanceof NftError) return [];
    throw error;
  }
  const objects = z.object({ nftables: z.array(z.unknown()) }).parse(JSON.parse(text)).nftables;
  return objects.flatMap((object) => {
    const set = setSchema.safeParse(object).data?.set;
    if (set === undefined || !sourceSets.includes(set.name)) return [];
    return set.elem.map((one) => (typeof one === 'string' ? one : `${one.prefix.addr}/${one.prefix.len}`));
  });
}

/** What {@link forgetConnections} needs; jobs run without. */
export async function connectionsFinding(): Promise<Finding> {
  try {
    await hostCommand(['conntrack', '--version']);
    return {
      check: 'conntrack',
      severity: 'ok',
      message: "jobs' connections are forgotten with them",
      fix: '',
    };
  } catch (error) {
    if (!(error instanceof HostCommandError)) throw error;
    return {
      check: 'conntrack',
      severity: 'warning',
      message: `connections that jobs leave open stay in the kernel's table of them for days, which some jobs can fill: ${error.message}`,
      fix: 'Install conntrack (Debian: apt-get install conntrack).',
    };
  }
}
