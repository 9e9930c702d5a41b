import { expect, test } from 'vitest';
import { parseNetworkReport } from './network-report.ts';
import { parseCIDR, rulesetFor } from './network-rules.ts';

test.each([
  ['10.1.0.0/16', '10.1.0.0/16'],
  [' 192.168.1.7 ', '192.168.1.7/32'],
  ['fd12::/32', 'fd12::/32'],
  ['::1', '::1/128'],
])('reads the range %s', (text, expected) => {
  expect(parseCIDR(text)).toBe(expected);
});

test.each([
  '',
  '10.0.0.0/33',
  '10.0.0/8',
  'host',
  '10.0.0.0/8/8',
  'fe80::1%eth0',
  '1.2.3.4; flush ruleset',
  '::/129',
])('refuses the range %j', (text) => {
  expect(() => parseCIDR(text)).toThrow('is not an address range');
});

test('opens the instance and the resolvers by port only, and single addresses on the machine itself', () => {
  const rules = rulesetFor({
    table: 'kiln_0123456789ab',
    bridge: 'kb0123456789ab',
    resolvers: ['10.0.0.2', 'fd00::53'],
    endpoints: [{ address: '10.0.0.9', port: 3080 }],
    allowedCIDRs: ['10.5.0.0/16', '10.6.0.1/32', 'fd12::/32'],
  });
  expect(rules).toContain('ip daddr 10.0.0.9 tcp dport 3080 accept');
  expect(rules).toContain('ip daddr 10.0.0.2 meta l4proto { tcp, udp } th dport 53 accept');
  expect(rules).toContain('ip6 daddr fd00::53 meta l4proto { tcp, udp } th dport 53 accept');
  expect(rules).toMatch(/set allowed4 .*10\.5\.0\.0\/16, 10\.6\.0\.1\/32/);
  expect(rules).toMatch(/set single4 .*elements = \{ 10\.6\.0\.1\/32 \}/);
  // The instance comes before the metadata addresses, these before what the executor allows.
  expect(rules.indexOf('10.0.0.9')).toBeLessThan(rules.indexOf('@metadata4 goto refuse'));
});

test('reads what the rules have counted', () => {
  const text = JSON.stringify({
    nftables: [
      { metainfo: { version: '1.0.6' } },
      { counter: { family: 'inet', name: 'sent', table: 't', handle: 6, packets: 2, bytes: 120 } },
      { counter: { family: 'inet', name: 'received', table: 't', handle: 7, packets: 1, bytes: 60 } },
      {
        set: {
          name: 'refused',
          elem: [{ concat: ['10.0.0.5', 6, 5432] }, { concat: ['10.0.0.5', 'udp', 53] }],
        },
      },
      { set: { name: 'blocked4', elem: [{ prefix: { addr: '10.0.0.0', len: 8 } }] } },
    ],
  });
  expect(parseNetworkReport(text)).toEqual({
    sentBytes: 120,
    receivedBytes: 60,
    refused: ['tcp 10.0.0.5:5432', 'udp 10.0.0.5:53'],
  });
});
