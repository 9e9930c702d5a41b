import { expect, test } from 'vitest';
import { checkEgress } from '../../apps/executor/src/cli/checks/egress.ts';
import { makeUpNetwork } from '../../apps/executor/src/cli/checks/made-up-network.ts';

test('validate finds that this kernel keeps to the rules of jobs', async () => {
  expect(await checkEgress()).toEqual([
    { name: 'egress', state: 'ok', message: expect.stringContaining('24 attempts'), fix: '' },
  ]);
});

test('its attempts come through where the rules let them', async () => {
  await using network = await makeUpNetwork(['10.9.0.1', '10.9.0.2'], ['10.9.0.1/32']);
  const flows = ['10.9.0.1', '10.9.0.2'].flatMap((address) => [
    { protocol: 'tcp', address } as const,
    { protocol: 'udp', address } as const,
  ]);
  await expect.poll(() => network.attempt(flows), { timeout: 60_000 }).toEqual([true, true, false, false]);
});
