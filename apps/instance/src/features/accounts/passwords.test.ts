import { argon2Sync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { hashPassword, isPassword } from './passwords.ts';

describe('a password', () => {
  it('is hashed by argon2id with the parameters that OWASP recommends, with a salt of its own', async () => {
    const [one, two] = await Promise.all([hashPassword('correct horse'), hashPassword('correct horse')]);
    expect(one).not.toBe(two);
    const match = /^\$argon2id\$v=19\$m=19456,t=2,p=1\$([^$]{22})\$([^$]{43})$/.exec(one);
    const derived = argon2Sync('argon2id', {
      message: 'correct horse',
      nonce: Buffer.from(match?.[1] ?? '', 'base64'),
      memory: 19_456,
      passes: 2,
      parallelism: 1,
      tagLength: 32,
    });
    expect(Buffer.from(match?.[2] ?? '', 'base64')).toEqual(derived);
  });

  it('is recognised, and nothing else is', async () => {
    const hash = await hashPassword('Grüße, correct horse');
    expect(await isPassword('Grüße, correct horse', hash)).toBe(true);
    expect(await isPassword('Gru\u0308ße, correct horse', hash)).toBe(true);
    for (const other of ['', 'grüße, correct horse', 'Grüße, correct horse ', hash]) {
      expect(await isPassword(other, hash)).toBe(false);
    }
  });

  it('is recognised with the parameters with which it was hashed', async () => {
    expect(await isPassword('x', cheap('x'))).toBe(true);
    expect(await isPassword('y', cheap('x'))).toBe(false);
  });

  it('is not looked at when too many are waiting already, and is soon after', async () => {
    const results = await Promise.allSettled(Array.from({ length: 120 }, () => isPassword('x', cheap('x'))));
    const refused = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason);
    expect(refused).toHaveLength(20);
    expect(refused[0]).toMatchObject({ status: 503, code: 'busy', retryAfterSeconds: 5 });
    expect(await isPassword('x', cheap('x'))).toBe(true);
  });

  it('of nobody is none, after the same work', async () => {
    for (const none of [null, undefined]) expect(await isPassword('', none)).toBe(false);
  });
});

/** A hash with other parameters than those of new ones. */
function cheap(message: string): string {
  const nonce = Buffer.alloc(16, 7);
  const cost = { memory: 64, passes: 3, parallelism: 2, tagLength: 16 };
  const hash = argon2Sync('argon2id', { message, nonce, ...cost });
  return `$argon2id$v=19$m=64,t=3,p=2$${nonce.toString('base64')}$${hash.toString('base64')}`;
}
