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
    const salt = Buffer.alloc(16, 7);
    const hash = argon2Sync('argon2id', {
      message: 'x',
      nonce: salt,
      memory: 64,
      passes: 3,
      parallelism: 2,
      tagLength: 16,
    });
    const stored = `$argon2id$v=19$m=64,t=3,p=2$${salt.toString('base64')}$${hash.toString('base64')}`;
    expect(await isPassword('x', stored)).toBe(true);
    expect(await isPassword('y', stored)).toBe(false);
  });

  it('of nobody is none, after the same work', async () => {
    for (const none of [null, undefined]) expect(await isPassword('', none)).toBe(false);
  });
});
