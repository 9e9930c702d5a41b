import { expect, test } from 'vitest';
import { hasHole } from './known-holes.ts';

const mended = [
  [7, 2, 11],
  [8, 2, 3],
] as const;

test.each([
  ['6.2.0', true],
  ['7.1.99', true],
  ['7.2.10', true],
  ['7.2.11', false],
  ['version 7.2.22 (Debian 1:7.2+dfsg-7)', false],
  ['8.1.5', true],
  ['8.2.2', true],
  ['8.2.3', false],
  ['8.3.0', false],
  ['10.0.0', false],
  ['unknown', false],
  [undefined, false],
])('%s', (version, expected) => {
  expect(hasHole(version, mended)).toBe(expected);
});
