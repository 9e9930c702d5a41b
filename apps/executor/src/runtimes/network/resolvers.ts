import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { OpenEndpoint } from './policy.ts';

/**
 * The name servers of this machine.
 * @param networkNamespace from where they are asked; undefined: from this process's own, where also one on the loopback address answers.
 *   Elsewhere, where systemd-resolved listens on the loopback address, the servers behind it are asked.
 */
export async function machineResolvers(networkNamespace?: string): Promise<string[]> {
  const own = nameServers(await readOptional('/etc/resolv.conf'));
  if (networkNamespace === undefined) return own;
  if (own.some((address) => !isLoopback(address))) return own.filter((address) => !isLoopback(address));
  return nameServers(await readOptional('/run/systemd/resolve/resolv.conf')).filter(
    (address) => !isLoopback(address),
  );
}

/**
 * Where the instance is, so that steps can reach it even on a private address.
 * @returns nothing when it is on the loopback address, or unknown to this machine's name servers
 */
export async function instanceEndpoints(
  instanceURL: URL,
  hostGateway: string | undefined,
): Promise<OpenEndpoint[]> {
  const host = instanceURL.hostname.replace(/^\[|\]$/g, '');
  const port = Number(instanceURL.port) || (instanceURL.protocol === 'http:' ? 80 : 443);
  if (host === 'host.docker.internal')
    return hostGateway === undefined ? [] : [{ address: hostGateway, port }];
  const addresses = isIP(host) ? [host] : await addressesOf(host);
  return addresses.filter((address) => !isLoopback(address)).map((address) => ({ address, port }));
}

export function nameServers(resolvConf: string): string[] {
  return resolvConf
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIP(address) !== 0 && !address.includes('%'));
}

const lookupSeconds = 5;

/** A name that cannot be looked up opens nothing; the executor's own requests report that failure better. */
async function addressesOf(host: string): Promise<string[]> {
  const { promise: tooLong, resolve } = Promise.withResolvers<string[]>();
  const timer = setTimeout(() => resolve([]), lookupSeconds * 1000);
  const found = lookup(host, { all: true }).then(
    (entries) => entries.map((entry) => entry.address),
    () => [],
  );
  try {
    return await Promise.race([found, tooLong]);
  } finally {
    clearTimeout(timer);
  }
}

async function readOptional(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
