import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseNetworkReport } from '../../apps/executor/src/runtimes/network/network-report.ts';
import { type NetworkRules, rulesetFor } from '../../apps/executor/src/runtimes/network/network-rules.ts';
import { applyRules, listTable } from '../../apps/executor/src/runtimes/network/nft.ts';
import {
  forwardPackets,
  inNamespace,
  type NetworkNamespace,
  networkNamespace,
} from '../kit/network-namespace.ts';
import { ip, startNetworkWorld, worldAddresses, worldPort } from '../kit/network-world.ts';

/**
 * The rules without Docker, whose containers have no IPv6 here: a client behind a router, the world behind that.
 * client (198.51.100.2, 2001:db8:1::2) - link of the rules - router - world
 */
const run = promisify(execFile);
const rules = {
  table: 'kiln_0123456789ab',
  link: 'kb0123456789ab',
  sources: ['198.51.100.2/32', '2001:db8:1::/64'],
  lookups: undefined,
  masquerade: false,
  endpoints: [],
  allowedCIDRs: [],
} satisfies NetworkRules;
let router: NetworkNamespace;
let client: NetworkNamespace;
let world: Awaited<ReturnType<typeof startNetworkWorld>>;

beforeAll(async () => {
  router = await networkNamespace();
  client = await networkNamespace();
  world = await startNetworkWorld(router.path);
  const [near, far] = ['02:00:00:00:00:01', '02:00:00:00:00:02'];
  await ip(
    router.path,
    `link add ${rules.link} address ${near} type veth peer name eth0 address ${far} netns ${client.pid}`,
  );
  await ip(router.path, `addr add 198.51.100.1/24 dev ${rules.link}`);
  await ip(router.path, `addr add 2001:db8:1::1/64 dev ${rules.link} nodad`);
  await ip(router.path, `link set ${rules.link} up`);
  await ip(client.path, 'addr add 198.51.100.2/24 dev eth0');
  await ip(client.path, 'addr add 2001:db8:1::2/64 dev eth0 nodad');
  await ip(client.path, 'link set eth0 up');
  // Neighbours are told: the rules refuse the client's questions to the router.
  await ip(client.path, `-6 neigh add 2001:db8:1::1 lladdr ${near} dev eth0`);
  await ip(router.path, `-6 neigh add 2001:db8:1::2 lladdr ${far} dev ${rules.link}`);
  await ip(client.path, 'route add default via 198.51.100.1');
  await ip(client.path, '-6 route add default via 2001:db8:1::1');
  await forwardPackets(router.path);
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await client?.[Symbol.asyncDispose]();
  await router?.[Symbol.asyncDispose]();
});

const blocked = Object.entries(worldAddresses).filter(([name]) => name !== 'open' && name !== 'open6');

test('without rules everything is reached, so that the next tests mean something', async () => {
  for (const address of Object.values(worldAddresses)) await expectAnswer(address);
});

test('only public addresses are reached, of both IP versions', async () => {
  await applyRules(router.path, rulesetFor(rules));
  await expectAnswer(worldAddresses.open);
  await expectAnswer(worldAddresses.open6);
  for (const [name, address] of blocked) expect(await reach(address), name).toBe('refused');
  for (const address of ['198.51.100.1', '203.0.113.254', '2001:db8:1::1', '2001:db8::254'])
    expect(await reach(address), address).toBe('refused');
  for (const address of [worldAddresses.private10, worldAddresses.private6])
    expect(await ping(address), address).toBe(false);
  await expect.poll(() => ping(worldAddresses.open), { timeout: 30_000 }).toBe(true);
  await expect.poll(() => ping(worldAddresses.open6), { timeout: 30_000 }).toBe(true);
  const report = parseNetworkReport(await listTable(router.path, rules.table));
  const refused = report.refused.map(({ protocol, address }) => `${protocol} ${address}`);
  for (const address of [worldAddresses.metadata, worldAddresses.private6, '198.51.100.1', '2001:db8:1::1'])
    expect(refused).toContain(`tcp ${address}`);
  expect(refused).toContain(`icmp ${worldAddresses.private10}`);
  expect(refused).toContain(`icmpv6 ${worldAddresses.private6}`);
  expect(report.sentBytes).toBeGreaterThan(0);
  expect(report.receivedBytes).toBeGreaterThan(0);
  await applyRules(router.path, `delete table inet ${rules.table}\n`);
});

test('the executor opens ranges and the instance, but no metadata service', async () => {
  await applyRules(
    router.path,
    rulesetFor({
      ...rules,
      endpoints: [{ address: worldAddresses.private192, port: worldPort }],
      allowedCIDRs: ['10.9.0.0/16', 'fd00::/8', '169.254.169.0/24', '172.16.0.0/12'],
    }),
  );
  const opened = ['private10', 'private172', 'private192', 'private6', 'open', 'open6'];
  for (const [name, address] of Object.entries(worldAddresses)) {
    if (opened.includes(name)) await expectAnswer(address);
    else expect(await reach(address), name).toBe('refused');
  }
  await applyRules(router.path, `delete table inet ${rules.table}\n`);
});

test('what is refused is noted once, and no more of it than fits', async () => {
  await applyRules(router.path, rulesetFor(rules));
  const attempts =
    'for (1 .. 400) { socket(S, 2, 2, 0); connect(S, pack("S n C4 x8", 2, 1 + $_ / 2, 10, 9, 0, 1)); send(S, "x", 0) }';
  await inNamespace(client.path, ['perl', '-e', attempts]);
  const { refused } = parseNetworkReport(await listTable(router.path, rules.table));
  expect(refused).toHaveLength(64);
  expect(new Set(refused.map(({ port }) => port)).size).toBe(64);
  await applyRules(router.path, `delete table inet ${rules.table}\n`);
});

test('no job fills the table of connections, which is the whole machine’s', async () => {
  await applyRules(router.path, rulesetFor(rules));
  const flood =
    'for (1 .. 9000) { socket(S, 2, 2, 0); bind(S, pack("S n x12", 2, 20000 + $_)); connect(S, pack("S n C4 x8", 2, 7000, 203, 0, 113, 1)); send(S, "x", 0) }';
  await inNamespace(client.path, ['perl', '-e', flood]);
  const count = Number(await inNamespace(router.path, ['cat', '/proc/sys/net/netfilter/nf_conntrack_count']));
  expect(count).toBeGreaterThan(8000);
  expect(count).toBeLessThan(8300);
  const { refused } = parseNetworkReport(await listTable(router.path, rules.table));
  expect(refused).toContainEqual({ address: '203.0.113.1', protocol: 'udp', port: 7000, reason: 5 });
  await applyRules(router.path, `delete table inet ${rules.table}\n`);
});

test('nobody opens connections to the client', async () => {
  const serving = spawn('nsenter', [
    `--net=${client.path}`,
    '--',
    'busybox',
    'nc',
    '-ll',
    '-p',
    '7001',
    '-e',
    'echo',
    'hello',
  ]);
  try {
    const fromWorld = `/proc/${world.pid}/ns/net`;
    await expect.poll(() => reach('198.51.100.2', 7001, fromWorld), { timeout: 30_000 }).toBe('hello');
    await applyRules(router.path, rulesetFor(rules));
    expect(await reach('198.51.100.2', 7001, fromWorld)).toBe('nothing');
    await applyRules(router.path, `delete table inet ${rules.table}\n`);
  } finally {
    serving.kill('SIGKILL');
    await once(serving, 'exit');
  }
});

test('rules for a link that is not there are refused as a whole', async () => {
  const elsewhere = rulesetFor({ ...rules, link: 'kbnowhere' });
  await expect(applyRules(router.path, elsewhere)).rejects.toThrow('Interface does not exist');
  await expect(listTable(router.path, rules.table)).rejects.toThrow('No such file or directory');
});

/** Asks again while nothing comes: a link just set up loses packets, and a busy machine is slower than the client waits. */
async function expectAnswer(address: string): Promise<void> {
  await expect.poll(() => reach(address), { message: address, timeout: 30_000 }).toBe('hello over tcp');
}

/** What a TCP client gets: the server's line, `refused` at once, or `nothing` in 2 s. */
async function reach(address: string, port: number = worldPort, from: string = client.path): Promise<string> {
  const question = `busybox nc -w 2 ${address} ${port} </dev/null 2>&1 || true`;
  const { stdout } = await run('nsenter', [`--net=${from}`, '--', 'sh', '-c', question], { timeout: 10_000 });
  if (stdout.includes('refused')) return 'refused';
  return stdout.includes('timed out') ? 'nothing' : stdout.trim();
}

async function ping(address: string): Promise<boolean> {
  const { stdout } = await run(
    'nsenter',
    [`--net=${client.path}`, '--', 'sh', '-c', `busybox ping -c 1 -W 1 ${address} || true`],
    { timeout: 10_000 },
  );
  return stdout.includes('bytes from');
}
