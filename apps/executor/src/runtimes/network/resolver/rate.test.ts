import { expect, test } from 'vitest';
import { rateLimit } from './rate.ts';

test('allows a second of things at once, then as many as time gives', () => {
  let now = 0;
  const may = rateLimit(10, () => now);
  const allowed = (tries: number) => Array.from({ length: tries }, may).filter(Boolean).length;
  expect(allowed(50)).toBe(10);
  now = 300;
  expect(allowed(50)).toBe(3);
  now = 1_000_000;
  expect(allowed(50)).toBe(10);
});
