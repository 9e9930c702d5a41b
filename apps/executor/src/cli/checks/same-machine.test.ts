import { expect, test } from 'vitest';
import { checkSameMachine } from './same-machine.ts';

const checked = (url: string) => checkSameMachine({ frontendUrl: new URL(url) });

test.each(['http://127.0.0.1:3080', 'http://[::1]:3080/base', 'http://localhost:3080'])(
  '%s is this machine',
  async (url) => {
    expect(await checked(url)).toMatchObject([
      { state: 'warning', message: expect.stringContaining('this machine') },
    ]);
  },
);

test('another machine is fine', async () => {
  expect(await checked('https://203.0.113.7')).toEqual([]);
});
