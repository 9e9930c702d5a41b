import { randomBytes } from 'node:crypto';
import type { KeyRing, WrappedKey } from './key-ring.ts';
import { keyBytes, seal, unseal } from './sealing.ts';

/** A text as it is stored. */
export interface SealedText extends WrappedKey {
  sealedValue: Buffer;
}

/**
 * What binds something encrypted to its row: moved to another one it does not open. The order of the properties is part
 * of it; what rows are to be bound to in addition comes last, and only in rows that have it.
 */
export type Binding = Readonly<Record<string, string | number>>;

/** Encrypts a text with a new data key, and that with the key of the ring. */
export async function encryptValue(ring: KeyRing, binding: Binding, value: string): Promise<SealedText> {
  const dataKey = randomBytes(keyBytes);
  const sealedValue = seal(dataKey, Buffer.from(value, 'utf8'), contextOf('value', binding));
  const wrapped = await ring.wrap(dataKey, contextOf('key', binding));
  return { ...wrapped, sealedValue };
}

/** @throws UnknownKeyError, BrokenSealError */
export async function decryptValue(ring: KeyRing, binding: Binding, sealed: SealedText): Promise<string> {
  const dataKey = await ring.unwrap(sealed, contextOf('key', binding));
  return unseal(dataKey, sealed.sealedValue, contextOf('value', binding)).toString('utf8');
}

/** The same data key, encrypted with the current key. @throws UnknownKeyError, BrokenSealError */
export async function rewrapKey(ring: KeyRing, binding: Binding, wrapped: WrappedKey): Promise<WrappedKey> {
  const context = contextOf('key', binding);
  return ring.wrap(await ring.unwrap(wrapped, context), context);
}

function contextOf(what: 'value' | 'key', binding: Binding): string {
  return JSON.stringify({ what, ...binding });
}
