import { expect, test } from 'vitest';
import { parseNetworkReport } from './network-report.ts';
import { rulesetFor } from './network-rules.ts';
import { judgeOf } from './policy.ts';
import { refusalLine } from './refusal-line.ts';

test('opens the instance by its port only, and single addresses on the machine itself', () => {
  const rules = rulesetFor({
    table: 'kiln_0123456789ab',
    link: 'kb0123456789ab',
    sources: ['10.62.0.2/32'],
    lookups: { gateway: '10.62.0.1', port: 40053 },
    masquerade: true,
    endpoints: [{ address: '10.0.0.9', port: 3080 }],
    allowedCIDRs: ['10.5.0.0/16', '10.6.0.1/32', 'fd12::/32'],
  });
  expect(rules).toContain('ip daddr 10.0.0.9 tcp dport 3080 goto pass');
  expect(rules).toContain('ip daddr 10.0.0.9 tcp dport 3080 accept');
  expect(rules).toContain('ip daddr 10.62.0.1 meta l4proto { tcp, udp } th dport 53 redirect to :40053');
  expect(rules).toMatch(/set allowed4 .*10\.5\.0\.0\/16, 10\.6\.0\.1\/32/);
  expect(rules).toMatch(/set single4 .*elements = \{ 10\.6\.0\.1\/32 \}/);
  // The instance comes before the metadata addresses, these before what the executor allows.
  expect(rules.indexOf('dport 3080 goto pass')).toBeLessThan(rules.indexOf('jump metadata'));
});

test('reads what the rules have counted and refused', () => {
  const elements = (name: string, elem: unknown[]) => ({ set: { name, elem } });
  const text = JSON.stringify({
    nftables: [
      { metainfo: { version: '1.0.6' } },
      { counter: { family: 'inet', name: 'sent', table: 't', handle: 6, packets: 2, bytes: 120 } },
      { counter: { family: 'inet', name: 'received', table: 't', handle: 7, packets: 1, bytes: 60 } },
      elements('refused4', [{ concat: ['10.0.0.5', 6, 5432, 1] }, { concat: ['8.8.8.8', 17, 53, 3] }]),
      elements('refused6', [{ concat: ['fd00::5', 132, 9, 1] }]),
      elements('refusedOther4', [{ concat: ['203.0.113.1', 47, 4] }]),
      elements('blocked4', [{ prefix: { addr: '10.0.0.0', len: 8 } }]),
    ],
  });
  expect(parseNetworkReport(text)).toEqual({
    sentBytes: 120,
    receivedBytes: 60,
    refused: [
      { address: '10.0.0.5', protocol: 'tcp', port: 5432, reason: 1 },
      { address: '8.8.8.8', protocol: 'udp', port: 53, reason: 3 },
      { address: 'fd00::5', protocol: 'sctp', port: 9, reason: 1 },
      { address: '203.0.113.1', protocol: 'gre', reason: 4 },
    ],
  });
});

test.each([
  [
    { address: '10.1.2.3', protocol: 'tcp', port: 5432, reason: 1 },
    'egress blocked: tcp 10.1.2.3:5432, private range; see EXECUTOR_ALLOWED_CIDRS',
  ],
  [
    { address: 'fd12::1', protocol: 'udp', port: 53, reason: 1 },
    'egress blocked: udp [fd12::1]:53, private range; see EXECUTOR_ALLOWED_CIDRS',
  ],
  [
    { address: '169.254.169.254', protocol: 'tcp', port: 80, reason: 1 },
    'egress blocked: tcp 169.254.169.254:80, metadata service; never open to jobs',
  ],
  [
    { address: '4000::1', protocol: 'icmpv6', reason: 1 },
    'egress blocked: icmpv6 4000::1, not a public address; see EXECUTOR_ALLOWED_CIDRS',
  ],
  [
    { address: '203.0.113.1', protocol: 'gre', reason: 4 },
    'egress blocked: gre 203.0.113.1, protocol; jobs have TCP, UDP and ping',
  ],
  [
    { address: '203.0.113.1', protocol: 'tcp', port: 443, reason: 5 },
    'egress blocked: tcp 203.0.113.1:443, too many connections; a job has at most 8192 at once',
  ],
] as const)('tells the job of what was refused, and why: %o', (flow, line) => {
  expect(refusalLine(flow, judgeOf({ endpoints: [], allowedCIDRs: [] }))).toBe(line);
});
