import { expect, test } from 'vitest';
import { instanceEndpoints, nameServers } from './resolvers.ts';

test('reads the name servers of resolv.conf', () => {
  expect(
    nameServers('# comment\nsearch x\nnameserver 10.0.0.2\n nameserver fd00::53\nnameserver fe80::1%eth0\n'),
  ).toEqual(['10.0.0.2', 'fd00::53']);
});

test('opens the address and port of the instance', async () => {
  const at = (url: string, gateway?: string) => instanceEndpoints(new URL(url), gateway);
  expect(await at('https://10.1.2.3')).toEqual([{ address: '10.1.2.3', port: 443 }]);
  expect(await at('http://[fd00::7]:3080/base')).toEqual([{ address: 'fd00::7', port: 3080 }]);
  expect(await at('http://127.0.0.1:3080')).toEqual([]);
  expect(await at('http://localhost:3080')).toEqual([]);
  expect(await at('http://host.docker.internal:3080', '10.62.0.1')).toEqual([
    { address: '10.62.0.1', port: 3080 },
  ]);
  expect(await at('http://host.docker.internal:3080')).toEqual([]);
});
