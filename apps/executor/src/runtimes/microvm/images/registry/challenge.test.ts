import { expect, test } from 'vitest';
import { parseChallenge } from './challenge.ts';
import { isLoopback } from './http.ts';
import { pauseSeconds } from './retry-after.ts';

test.each<[string | string[] | undefined, ReturnType<typeof parseChallenge>]>([
  [
    'Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull"',
    { scheme: 'bearer', realm: 'https://auth.example/token', service: 'a, b' },
  ],
  [
    'bearer realm=https://a.example/t',
    { scheme: 'bearer', realm: 'https://a.example/t', service: undefined },
  ],
  ['Basic realm="Registry"', { scheme: 'basic' }],
  [
    'Basic realm="x", Bearer realm="https://a.example/"',
    { scheme: 'bearer', realm: 'https://a.example/', service: undefined },
  ],
  [
    ['Basic realm="x"', 'Bearer realm="https://a.example/"'],
    { scheme: 'bearer', realm: 'https://a.example/', service: undefined },
  ],
  ['Bearer realm="a\\"b"', { scheme: 'bearer', realm: 'a"b', service: undefined }],
  ['Bearer service="x"', undefined],
  ['Negotiate', undefined],
  [undefined, undefined],
])('%j', (header, expected) => {
  expect(parseChallenge(header)).toEqual(expected);
});

test('pauses are as long as the registry says, else longer each time', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  expect(pauseSeconds('7', 0, now)).toBe(7);
  expect(pauseSeconds('0', 0, now)).toBe(1);
  expect(pauseSeconds('Thu, 01 Jan 2026 00:01:30 GMT', 0, now)).toBe(90);
  expect(pauseSeconds('Wed, 31 Dec 2025 00:00:00 GMT', 0, now)).toBe(1);
  expect([0, 1, 2, 3, 9].map((attempt) => pauseSeconds(undefined, attempt, now))).toEqual([
    10, 20, 40, 80, 120,
  ]);
  expect(pauseSeconds('soon', 0, now)).toBe(10);
});

test.each([
  ['localhost', true],
  ['127.8.9.1', true],
  ['[::1]', true],
  ['127.0.0.1.evil.example', false],
  ['localhost.evil.example', false],
  ['10.0.0.1', false],
])('%s is this machine: %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});
