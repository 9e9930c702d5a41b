import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseSubnet, parseRoutes } from './subnets.ts';

const header = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n';
const route = (destination: string, mask: string): string =>
  `eth0\t${destination}\t00000000\t0001\t0\t0\t0\t${mask}\t0\t0\t0\n`;

test('reads the routes of the kernel, without the default one', () => {
  const text =
    header + route('00000000', '00000000') + route('0000A8C0', '0000FFFF') + route('00003E0A', '0000FFFF');
  expect(parseRoutes(text)).toEqual([
    { base: 0xc0a80000, bits: 16 },
    { base: 0x0a3e0000, bits: 16 },
  ]);
});

test('cuts a subnet from the first pool', () => {
  expect(chooseSubnet([], () => 17)).toEqual({ cidr: '10.62.1.16/28', gateway: '10.62.1.17' });
});

test('goes on to the next pool where a route covers the first, and gives up where all are covered', () => {
  const ten = { base: 0x0a000000, bits: 8 };
  expect(chooseSubnet([ten], () => 0)?.cidr).toBe('172.29.0.0/28');
  expect(chooseSubnet([ten, { base: 0xac100000, bits: 12 }], () => 0)?.cidr).toBe('192.168.240.0/28');
  expect(
    chooseSubnet([
      { base: 0x00000000, bits: 1 },
      { base: 0x80000000, bits: 1 },
    ]),
  ).toBeUndefined();
});

test('never overlaps a route', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 4095 }), { maxLength: 40 }), (taken) => {
      const routes = taken.map((slot) => ({ base: 0x0a3e0000 + slot * 16, bits: 28 }));
      const chosen = chooseSubnet(routes)?.cidr.split('/')[0]?.split('.').map(Number) ?? [];
      const base = chosen.reduce((sum, part) => sum * 256 + part, 0);
      expect(routes.map((candidate) => candidate.base)).not.toContain(base);
    }),
  );
});
