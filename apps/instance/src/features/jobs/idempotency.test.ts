import { describe, expect, test } from 'vitest';
import { hashSubmission, readIdempotencyKey } from './idempotency.ts';
import { decodeCursor, encodeCursor } from './list-cursor.ts';

describe('hashSubmission', () => {
  test('does not depend on the order of keys, but on everything else', () => {
    const hash = hashSubmission({ a: 1, b: { c: [1, 2], d: 'x' } });
    expect(hashSubmission({ b: { d: 'x', c: [1, 2] }, a: 1 })).toEqual(hash);
    expect(hashSubmission({ a: 1, b: { c: [2, 1], d: 'x' } })).not.toEqual(hash);
    expect(hashSubmission({ a: '1', b: { c: [1, 2], d: 'x' } })).not.toEqual(hash);
  });
});

describe('readIdempotencyKey', () => {
  test('takes printable ASCII', () => {
    expect(readIdempotencyKey(undefined)).toBeUndefined();
    expect(readIdempotencyKey('a-1')).toBe('a-1');
  });

  test.each(['', 'a b', 'a'.repeat(256), 'ä', ['a', 'b']])('refuses %j', (header) => {
    expect(() => readIdempotencyKey(header)).toThrow('Idempotency-Key must be');
  });
});

describe('list cursors', () => {
  test('come back, and others are refused', () => {
    expect(decodeCursor(encodeCursor(42))).toBe(42);
    for (const cursor of ['', '42', 'am9iOg', encodeCursor(-1), encodeCursor(1e300), '\0']) {
      expect(() => decodeCursor(cursor)).toThrow('not a cursor');
    }
  });
});
