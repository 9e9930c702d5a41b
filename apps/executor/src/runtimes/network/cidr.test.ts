import { expect, test } from 'vitest';
import { inRanges, parseCIDR } from './cidr.ts';

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

test('tells ranges of the two versions apart', () => {
  const isIn = inRanges(['10.0.0.0/8', '::ffff:0:0/96', 'fd00::/8', '192.0.2.1']);
  expect(['10.1.2.3', 'fd12::1', '::ffff:1.2.3.4', '192.0.2.1'].map(isIn)).toEqual([true, true, true, true]);
  expect(['11.1.2.3', '192.0.2.2', '2001:db8::1'].map(isIn)).toEqual([false, false, false]);
});
