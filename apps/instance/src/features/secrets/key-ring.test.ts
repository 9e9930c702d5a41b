import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { decryptValue, encryptValue, rewrapKey } from './envelope.ts';
import { createKeyRing, parseKeys, UnknownKeyError } from './key-ring.ts';
import { BrokenSealError } from './sealing.ts';
import { bindingOf, type SecretVersion } from './store.ts';

const [a, b] = ['a'.repeat(64), 'b'.repeat(64)];
const version: SecretVersion = { id: randomUUID(), scope: 'JOBS', key: 'TOKEN', version: 1 };
const binding = bindingOf(version);
const ringOf = (text: string) => createKeyRing(parseKeys(text));

describe('parseKeys', () => {
  test('takes keys in lines, or separated by commas and blanks', () => {
    const keys = [Buffer.from(a, 'hex'), Buffer.from(b, 'hex')];
    expect(parseKeys(`${a}\r\n${b.toUpperCase()}\n`)).toEqual(keys);
    expect(parseKeys(` ${a}, ${b}`)).toEqual(keys);
  });

  test.each([
    ['', 'holds no key'],
    [' \n', 'holds no key'],
    [`${a}0`, /^is no key: a key is 64 hexadecimal characters/],
    [a.replace('a', 'g'), /^is no key/],
    [`${a}\nSECRET`, /^key 2 is none/],
  ])('refuses %j without quoting it', (text, message) => {
    expect(() => parseKeys(text)).toThrow(message);
    expect(() => parseKeys(text)).not.toThrow(/SECRET|aaaa/);
  });
});

describe('a ring', () => {
  test('tells keys by fingerprints that are not part of them', () => {
    const { ids, currentId } = ringOf(`${a} ${b} ${a}`);
    expect(ids).toEqual([expect.stringMatching(/^[0-9a-f]{16}$/), expect.stringMatching(/^[0-9a-f]{16}$/)]);
    expect(currentId).toBe(ids[0]);
    expect(ringOf(b).currentId).toBe(ids[1]);
    for (const id of ids) expect(a + b).not.toContain(id);
  });

  test('encrypts with the first key and decrypts with all', async () => {
    const stored = await encryptValue(ringOf(a), binding, 'wörd\n2');
    expect(await decryptValue(ringOf(`${b} ${a}`), binding, stored)).toBe('wörd\n2');
    await expect(decryptValue(ringOf(b), binding, stored)).rejects.toThrow(UnknownKeyError);

    const rewrapped = await rewrapKey(ringOf(`${b} ${a}`), binding, stored);
    expect(rewrapped.keyId).toBe(ringOf(b).currentId);
    expect(await decryptValue(ringOf(b), binding, { ...stored, ...rewrapped })).toBe('wörd\n2');
  });

  test('never encrypts the same twice', async () => {
    const [one, two] = await Promise.all([1, 2].map(() => encryptValue(ringOf(a), binding, 'same')));
    expect(one?.sealedValue).not.toEqual(two?.sealedValue);
    expect(one?.wrappedKey).not.toEqual(two?.wrappedKey);
  });
});

describe('what is encrypted does not open', () => {
  const ring = ringOf(a);

  test.each<[string, Partial<SecretVersion>]>([
    ['another secret', { id: randomUUID() }],
    ['another key', { key: 'OTHER' }],
    ['another scope', { scope: 'BATCHES' }],
    ['an earlier or later version', { version: 2 }],
  ])('as %s', async (_, moved) => {
    const stored = await encryptValue(ring, binding, 'value');
    await expect(decryptValue(ring, bindingOf({ ...version, ...moved }), stored)).rejects.toThrow(
      BrokenSealError,
    );
    // Nor does the value with a data key that was made for where it is now.
    const other = await encryptValue(ring, bindingOf({ ...version, ...moved }), 'value');
    await expect(
      decryptValue(ring, bindingOf({ ...version, ...moved }), { ...other, sealedValue: stored.sealedValue }),
    ).rejects.toThrow(BrokenSealError);
  });

  test('when a bit of it was changed, wherever', async () => {
    const stored = await encryptValue(ring, binding, 'value');
    for (const part of ['sealedValue', 'wrappedKey'] as const) {
      for (const index of stored[part].keys()) {
        const changed = Buffer.from(stored[part]);
        changed[index] = (changed[index] ?? 0) ^ 1;
        await expect(decryptValue(ring, binding, { ...stored, [part]: changed })).rejects.toThrow(
          BrokenSealError,
        );
      }
      const short = { ...stored, [part]: stored[part].subarray(0, 20) };
      await expect(decryptValue(ring, binding, short)).rejects.toThrow(BrokenSealError);
    }
  });
});
