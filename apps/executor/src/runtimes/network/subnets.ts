import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** An IPv4 range as numbers: first address and prefix length. */
export interface Subnet {
  base: number;
  bits: number;
}

/**
 * Ranges from which jobs' networks are cut. Docker's own pools are not used: they hold about 30 networks, fewer than
 * the jobs that one machine may run.
 */
const pools: readonly Subnet[] = [
  { base: address(10, 62, 0, 0), bits: 16 },
  { base: address(172, 29, 0, 0), bits: 16 },
  { base: address(192, 168, 240, 0), bits: 20 },
];
/** 16 addresses: network, gateway, broadcast, one container at a time and some to spare. */
const subnetBits = 28;
const tries = 64;

/**
 * Chooses a subnet that overlaps nothing the machine has a route to.
 * @param routes as in {@link parseRoutes}
 * @returns undefined when every pool is taken by routes
 */
export function chooseSubnet(
  routes: readonly Subnet[],
  random: (below: number) => number = randomInt,
): { cidr: string; gateway: string } | undefined {
  for (const pool of pools) {
    for (let attempt = 0; attempt < tries; attempt++) {
      const slots = 2 ** (subnetBits - pool.bits);
      const subnet = { base: pool.base + random(slots) * 2 ** (32 - subnetBits), bits: subnetBits };
      if (!routes.some((route) => overlap(route, subnet)))
        return { cidr: `${dotted(subnet.base)}/${subnet.bits}`, gateway: dotted(subnet.base + 1) };
    }
  }
  return undefined;
}

/**
 * Reads `/proc/net/route`; the default route is left out, since it covers everything.
 */
export function parseRoutes(text: string): Subnet[] {
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .flatMap(([, destination, , , , , , mask]) => {
      if (destination === undefined || mask === undefined) return [];
      const bits = bitCount(hostOrder(mask));
      return bits === 0 ? [] : [{ base: hostOrder(destination), bits }];
    });
}

/**
 * A namespace's routes, for {@link parseRoutes}, are shown by any process in it; our own are shown where that process cannot be told.
 * @param networkNamespace `/proc/<pid>/ns/net`; undefined: this process's own
 */
export async function routeTable(networkNamespace: string | undefined): Promise<string> {
  const owner = /^(\/proc\/\d+)\/ns\/net$/.exec(networkNamespace ?? '')?.[1] ?? '/proc/self';
  try {
    return await readFile(`${owner}/net/route`, 'utf8');
  } catch {
    return '';
  }
}

function overlap(left: Subnet, right: Subnet): boolean {
  const size = 2 ** (32 - Math.min(left.bits, right.bits));
  return Math.floor(left.base / size) === Math.floor(right.base / size);
}

/** The kernel prints addresses as little-endian hexadecimal numbers. */
function hostOrder(hexadecimal: string): number {
  const bytes = Buffer.from(hexadecimal, 'hex').reverse();
  return bytes.length === 4 ? bytes.readUInt32BE(0) : 0;
}

function bitCount(value: number): number {
  return value.toString(2).replaceAll('0', '').length;
}

function address(a: number, b: number, c: number, d: number): number {
  return ((a * 256 + b) * 256 + c) * 256 + d;
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
