import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import type { Settings } from '../../env/index.ts';
import { type Check, warning } from './check.ts';

const lookupMilliseconds = 5000;

/** Warns where the instance is on this machine: what breaks out of a sandbox is then next to every tenant's data. */
export async function checkSameMachine({ frontendUrl }: Pick<Settings, 'frontendUrl'>): Promise<Check[]> {
  const host = frontendUrl.hostname.replace(/^\[|\]$/g, '');
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => address);
  const found = await addressesOf(host);
  if (!found.some((address) => isLoopback(address) || own.includes(address))) return [];
  return [
    warning(
      'instance',
      'it runs on this machine, so whoever breaks out of a sandbox here is next to the data of all its users',
      'Give executors machines of their own where jobs are not trusted. For a trial this is fine.',
    ),
  ];
}

/** @returns nothing for a name that cannot be looked up: the call to the instance says that better */
async function addressesOf(host: string): Promise<string[]> {
  const { promise: late, resolve } = Promise.withResolvers<string[]>();
  const timer = setTimeout(() => resolve([]), lookupMilliseconds);
  const found = lookup(host, { all: true }).then(
    (entries) => entries.map(({ address }) => address),
    () => [],
  );
  try {
    return await Promise.race([found, late]);
  } finally {
    clearTimeout(timer);
  }
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
