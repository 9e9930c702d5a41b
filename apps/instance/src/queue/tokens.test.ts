import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeToken, encodeToken, matchesHash, mintSecret } from './tokens.ts';

describe('job tokens', () => {
  it('carry the job and a secret that only its hash recognises', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 48 - 1 }), (jobId) => {
        const { secret, hash } = mintSecret();
        const token = encodeToken(jobId, secret);
        expect(token).toMatch(/^[0-9a-f]{40}$/);
        const decoded = decodeToken(token);
        expect(decoded?.jobId).toBe(jobId);
        expect(decoded && matchesHash(decoded.secret, hash)).toBe(true);
        expect(decoded && matchesHash(decoded.secret, mintSecret().hash)).toBe(false);
        expect(hash.equals(secret)).toBe(false);
      }),
    );
  });

  it.each(['', 'ab', 'g'.repeat(40), 'A'.repeat(40), 'a'.repeat(39), 'a'.repeat(42), ` ${'a'.repeat(40)}`])(
    'are not read from %j',
    (text) => {
      expect(decodeToken(text)).toBeUndefined();
    },
  );
});
