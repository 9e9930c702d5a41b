import { expect, test } from 'vitest';
import { forgetConnections } from '../../apps/executor/src/runtimes/network/connections.ts';
import { rulesetFor } from '../../apps/executor/src/runtimes/network/network-rules.ts';
import { applyRules } from '../../apps/executor/src/runtimes/network/nft.ts';
import { inNamespace, networkNamespace } from '../kit/network-namespace.ts';
import { startServers } from './laboratory.ts';
import { hexOf } from './packets.ts';
import { probeProgram } from './probe.ts';

test("the kernel forgets the connections of a job's whole range, as containers have one, and of nobody else", async () => {
  await using machine = await networkNamespace();
  const link = 'kb0123456789ab';
  const table = 'kiln_0123456789ab';
  const [inside, outside] = ['10.62.0.20', '10.62.0.36'] as const;
  await inNamespace(machine.path, ['ip', 'link', 'add', link, 'type', 'bridge']);
  for (const address of [inside, outside])
    await inNamespace(machine.path, ['ip', 'addr', 'add', `${address}/32`, 'dev', 'lo']);
  const rules = { table, link, sources: ['10.62.0.16/28'], lookups: undefined, masquerade: false };
  await applyRules(machine.path, rulesetFor({ ...rules, endpoints: [], allowedCIDRs: [] }));
  await using _ = await startServers(machine.path, ['7000'], ['127.0.0.1']);
  const attempts = [inside, outside].map((own) => `x tcp ${hexOf('127.0.0.1')} 7000 ${hexOf(own)}`);
  await probeProgram(machine.path, attempts);
  const remembered = async (): Promise<string[]> => {
    const list = await inNamespace(machine.path, ['conntrack', '-L', '-p', 'tcp']);
    return [inside, outside].filter((address) => list.includes(`src=${address} dst=127.0.0.1`));
  };
  expect(await remembered()).toEqual([inside, outside]);
  await forgetConnections(table, machine.path);
  expect(await remembered()).toEqual([outside]);
  await forgetConnections('kiln_ba9876543210', machine.path);
});
