import { expect, test } from 'vitest';
import { checkEgress, judgeEgress } from './egress.ts';
import type { Flow } from './made-up-network.ts';

const flows: Flow[] = [
  { protocol: 'tcp', address: '203.0.113.1' },
  { protocol: 'udp', address: '10.9.0.1' },
  { protocol: 'tcp', address: 'fd00:ec2::254' },
];

test('what is reached although it must not be is named, and what is not although it may be', () => {
  expect(judgeEgress(flows, [true, false, false])).toMatchObject({ state: 'ok' });
  expect(judgeEgress(flows, [true, true, false])).toMatchObject({
    state: 'error',
    message: 'jobs would reach what they must not: udp 10.9.0.1',
  });
  expect(judgeEgress(flows, [false, false, true])).toMatchObject({
    message: expect.stringContaining('tcp fd00:ec2::254'),
  });
  expect(judgeEgress(flows, [false, false, false])).toMatchObject({
    state: 'error',
    message: 'jobs would not reach public addresses: tcp 203.0.113.1',
  });
});

test('nothing is tried where it cannot be, and that is told', async () => {
  expect(await checkEgress('darwin', 0)).toEqual([]);
  expect(await checkEgress('linux', 1000)).toMatchObject([
    { state: 'warning', message: expect.stringContaining('needs root') },
  ]);
});
