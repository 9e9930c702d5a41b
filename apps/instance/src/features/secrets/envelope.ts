import { randomBytes } from 'node:crypto';
import type { KeyRing, WrappedKey } from './key-ring.ts';
import { keyBytes, seal, unseal } from './sealing.ts';
import type { SecretVersion, StoredSecret } from './store.ts';

/** Encrypts a value with a new data key, and that with the key of the ring. */
export async function encryptValue(
  ring: KeyRing,
  version: SecretVersion,
  value: string,
): Promise<StoredSecret> {
  const dataKey = randomBytes(keyBytes);
  const sealedValue = seal(dataKey, Buffer.from(value, 'utf8'), contextOf('value', version));
  const wrapped = await ring.wrap(dataKey, contextOf('key', version));
  return { ...version, ...wrapped, sealedValue };
}

/** @throws UnknownKeyError, BrokenSealError */
export async function decryptValue(ring: KeyRing, stored: StoredSecret): Promise<string> {
  const dataKey = await ring.unwrap(stored, contextOf('key', stored));
  return unseal(dataKey, stored.sealedValue, contextOf('value', stored)).toString('utf8');
}

/** The same data key, encrypted with the current key. @throws UnknownKeyError, BrokenSealError */
export async function rewrapKey(ring: KeyRing, stored: SecretVersion & WrappedKey): Promise<WrappedKey> {
  const context = contextOf('key', stored);
  return ring.wrap(await ring.unwrap(stored, context), context);
}

/**
 * Binds what is encrypted to its row: moved to another secret, scope or version it does not open. The order of the
 * properties is part of it; what rows are to be bound to in addition comes last, and only in rows that have it.
 */
function contextOf(what: 'value' | 'key', { id, scope, key, version }: SecretVersion): string {
  return JSON.stringify({ what, id, scope, key, version });
}
