import { readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { encode } from 'dns-packet';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createResolver, type Resolver } from '../../apps/executor/src/runtimes/network/index.ts';
import { frame } from '../../apps/executor/src/runtimes/network/resolver/frames.ts';
import { inNamespace, type NetworkNamespace, networkNamespace } from '../kit/network-namespace.ts';
import { startServers } from './laboratory.ts';
import { hexOf } from './packets.ts';
import { probeProgram } from './probe.ts';

/** The resolver without any job: programs of its own namespace ask it, from addresses that are the job's and from others. */
let machine: NetworkNamespace;
let servers: AsyncDisposable;
let resolver: Resolver;
const warnings: string[] = [];
const lines: string[] = [];
const gateway = '10.62.0.1';
const jobAddress = '10.62.0.2';
let jobs = 0;

beforeAll(async () => {
  machine = await networkNamespace();
  for (const address of ['127.0.0.53', gateway, jobAddress, '10.62.1.1'])
    await inNamespace(machine.path, ['ip', 'addr', 'add', `${address}/32`, 'dev', 'lo']);
  // So that what a job does not read soon waits in the resolver.
  for (const direction of ['rmem', 'wmem'])
    await inNamespace(machine.path, [
      ...['sh', '-c', `echo 4096 16384 65536 >/proc/sys/net/ipv4/tcp_${direction}`],
    ]);
  servers = await startServers(machine.path, ['53'], ['127.0.0.53/8']);
  resolver = createResolver((message, error) => warnings.push(`${message}: ${error}`));
});
afterAll(async () => {
  await resolver?.[Symbol.asyncDispose]();
  await servers?.[Symbol.asyncDispose]();
  await machine?.[Symbol.asyncDispose]();
});

test('answers over UDP and TCP, with closed addresses taken out, and tells the job', async () => {
  const port = await serve();
  expect(await lookup(port, 'udp', 'public.test')).toBe('203.0.113.1');
  expect(await lookup(port, 'tcp', 'public.test')).toBe('203.0.113.1');
  expect(await lookup(port, 'udp', 'mixed.test')).toBe('203.0.113.1');
  expect(await lookup(port, 'tcp', 'metadata.test')).toBe('none');
  expect(await lookup(port, 'udp', 'opened.test')).toBe('10.20.0.1');
  await expect
    .poll(() => lines)
    .toContain(
      'lookup of metadata.test: 169.254.169.254 was removed from the answer, since the job may not reach it',
    );
  expect(lines).toHaveLength(3);
});

test('answers nobody but the job', async () => {
  const port = await serve();
  expect(await lookup(port, 'udp', 'public.test', '127.0.0.1')).toBe('silent');
  expect(await lookup(port, 'tcp', 'public.test', '10.62.1.1')).not.toMatch(/203/);
});

test('answers with a failure when no name server does', async () => {
  const port = await serve(['203.0.113.99']);
  expect(await lookup(port, 'udp', 'public.test')).toBe('code-2');
});

test('has no rights, and survives what it is sent', async () => {
  const port = await serve();
  const pid = await processOf(port);
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  expect(status).toMatch(/^Uid:\t1899999999\t1899999999\t1899999999\t1899999999$/m);
  expect(status).toMatch(/^Groups:\s*$/m);
  expect(status).toMatch(/^CapPrm:\t0{16}$/m);
  expect(status).toMatch(/^CapEff:\t0{16}$/m);
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
  expect(environment).not.toMatch(/EXECUTOR_|KILN_|HOME=/);
  const garbage = ['', '00', 'ff'.repeat(12), `${'00'.repeat(4)}${'ffff'.repeat(4)}`, 'c00c'.repeat(300)];
  for (const bytes of garbage) await send(port, bytes);
  expect(await lookup(port, 'udp', 'public.test')).toBe('203.0.113.1');
});

test('keeps no answers for a job that does not take them', async () => {
  const port = await serve();
  const question = encode({ type: 'query', id: 1, questions: [{ name: 'huge.test', type: 'A' }] });
  const target = (address: string, at: number) => `pack("S n H8 x8", 2, ${at}, "${hexOf(address)}")`;
  const program = [
    '$SIG{PIPE} = "IGNORE"; socket(S, 2, 1, 0) or die;',
    `bind(S, ${target(jobAddress, 0)}) or die; connect(S, ${target(gateway, port)}) or die;`,
    `for (1 .. 150) { syswrite(S, pack("H*", "${frame(question).toString('hex')}")) or die "ended"; select(undef, undef, undef, 0.3) }`,
  ].join('\n');
  await expect(inNamespace(machine.path, ['perl', '-e', program])).rejects.toThrow('ended');
  expect(await lookup(port, 'tcp', 'public.test')).toBe('203.0.113.1');
});

test('is started again on the same ports when it ends', async () => {
  const port = await serve();
  process.kill(Number(await processOf(port)), 'SIGKILL');
  await expect.poll(() => lookup(port, 'udp', 'public.test'), { timeout: 60_000 }).toBe('203.0.113.1');
  expect(warnings.join('\n')).toContain('the program that answers lookups ended: ResolverError: SIGKILL');
});

test('does not take it for the end of a network that it has too many files open', async () => {
  const port = await serve();
  const pid = await processOf(port);
  const itself = ['setpriv', '--reuid=1899999999', '--regid=1899999999', '--clear-groups'];
  const openFiles = (most: number) =>
    inNamespace(machine.path, [...itself, 'prlimit', `--pid=${pid}`, `--nofile=${most}:`]);
  await openFiles(3);
  // Longer than it takes to look for the networks again.
  await wait(7000);
  await openFiles(1000);
  expect(await lookup(port, 'udp', 'public.test')).toBe('203.0.113.1');
});

test('stops when the network of the job is gone, and ends with the executor', async () => {
  await inNamespace(machine.path, ['ip', 'addr', 'add', '10.62.2.1/32', 'dev', 'lo']);
  const port = await serve(undefined, '10.62.2.1');
  const other = await serve();
  const pid = await processOf(other);
  expect(await processOf(port)).toBe(pid);
  await inNamespace(machine.path, ['ip', 'addr', 'del', '10.62.2.1/32', 'dev', 'lo']);
  await expect.poll(() => processOf(port), { timeout: 60_000 }).toBe('');
  expect(await lookup(other, 'udp', 'public.test')).toBe('203.0.113.1');
  await resolver[Symbol.asyncDispose]();
  await expect(readFile(`/proc/${pid}/status`)).rejects.toThrow('ENOENT');
});

test('stays for a network that outlives the executor, until that is gone', async () => {
  await inNamespace(machine.path, ['ip', 'addr', 'add', '10.62.3.1/32', 'dev', 'lo']);
  const passing = createResolver((message, error) => warnings.push(`${message}: ${error}`));
  const port = await serve(undefined, '10.62.3.1', { resolver: passing, outlives: true });
  await passing[Symbol.asyncDispose]();
  expect(await lookup(port, 'udp', 'public.test', jobAddress, '10.62.3.1')).toBe('203.0.113.1');
  const pid = await processOf(port);
  await inNamespace(machine.path, ['ip', 'addr', 'del', '10.62.3.1/32', 'dev', 'lo']);
  await expect.poll(() => isRunning(Number(pid)), { timeout: 60_000 }).toBe(false);
});

async function serve(
  nameServers = ['127.0.0.53'],
  at = gateway,
  options = { resolver, outlives: false },
): Promise<number> {
  jobs += 1;
  return options.resolver.serve({
    job: `job-${jobs}`,
    lookups: {
      gateway: at,
      sources: [`${jobAddress}/32`],
      nameServers,
      endpoints: [],
      allowedCIDRs: ['10.20.0.0/24'],
    },
    networkNamespace: machine.path,
    outlives: options.outlives,
    notice: (line) => lines.push(line),
  });
}

async function lookup(
  port: number,
  transport: 'udp' | 'tcp',
  name: string,
  from = jobAddress,
  at = gateway,
): Promise<string | undefined> {
  const attempt = `x lookup ${hexOf(at)} ${transport} ${name} 1 ${port} ${hexOf(from)}`;
  return (await probeProgram(machine.path, [attempt])).get('x');
}

async function send(port: number, bytes: string): Promise<void> {
  await probeProgram(machine.path, [`x send ${hexOf(gateway)} ${port} ${hexOf(jobAddress)} ${bytes}`]);
}

/** One that waits to be reaped has ended. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^State:\t[^ZX]/m.test(status);
}

/** Of whoever listens on a UDP port; empty when nobody does. */
async function processOf(port: number): Promise<string> {
  const text = await inNamespace(machine.path, ['ss', '-Hulnp', `sport = :${port}`]);
  return /pid=(\d+)/.exec(text)?.[1] ?? '';
}
