import { createHmac } from 'node:crypto';
import { seal, unseal } from './sealing.ts';

/** The keys of an instance, which encrypt the data keys of secrets. What a key management service would offer too. */
export interface KeyRing {
  /** Of the key that encrypts from now on; a fingerprint that tells nothing of the key. */
  readonly currentId: string;
  /** Of all keys that it can decrypt with, the current one first. */
  readonly ids: readonly string[];
  wrap(dataKey: Uint8Array, context: string): Promise<WrappedKey>;
  /** @throws UnknownKeyError, BrokenSealError */
  unwrap(wrapped: WrappedKey, context: string): Promise<Buffer>;
}

export interface WrappedKey {
  keyId: string;
  wrappedKey: Buffer;
}

/** Something is encrypted with a key that this instance was not given. */
export class UnknownKeyError extends Error {
  override readonly name = 'UnknownKeyError';
  constructor(keyId: string) {
    super(`this instance does not have the key ${keyId}`);
  }
}

/**
 * Reads keys of 32 bytes, each as 64 hexadecimal characters, separated by white space or commas.
 * @throws RangeError that never quotes what it read
 */
export function parseKeys(text: string): Keys {
  const words = text.split(/[\s,]+/).filter((word) => word !== '');
  const [current, ...others] = words.map((word, index) => {
    if (/^[0-9a-fA-F]{64}$/.test(word)) return Buffer.from(word, 'hex');
    const which = words.length === 1 ? 'is no key' : `key ${index + 1} is none`;
    throw new RangeError(`${which}: a key is 64 hexadecimal characters, as "openssl rand -hex 32" prints`);
  });
  if (!current) throw new RangeError('holds no key');
  return [current, ...others];
}

/** Of 32 bytes each; the first one encrypts, all decrypt. */
type Keys = readonly [Uint8Array, ...Uint8Array[]];

export function createKeyRing(keys: Keys): KeyRing {
  const byId = new Map(keys.map((key) => [fingerprint(key), key]));
  const [current] = keys;
  const currentId = fingerprint(current);
  return {
    currentId,
    ids: [...byId.keys()],
    async wrap(dataKey, context) {
      return { keyId: currentId, wrappedKey: seal(current, dataKey, context) };
    },
    async unwrap({ keyId, wrappedKey }, context) {
      const key = byId.get(keyId);
      if (!key) throw new UnknownKeyError(keyId);
      return unseal(key, wrappedKey, context);
    },
  };
}

function fingerprint(key: Uint8Array): string {
  return createHmac('sha256', key).update('fingerprint of a secret key of Kiln').digest('hex').slice(0, 16);
}
