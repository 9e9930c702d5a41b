import { randomUUID } from 'node:crypto';
import type { Database, Executable, Transaction } from '../../database/index.ts';
import { type Binding, decryptValue, encryptValue, rewrapKey, type SealedText } from './envelope.ts';
import type { KeyRing, WrappedKey } from './key-ring.ts';
import { explainRetiredKey } from './retired-key.ts';

/** Texts of other rooms that are secrets or hold some, encrypted like executor secrets and rotated with them. */
export interface SealedTexts {
  /** Keeps a text for good, when the transaction commits. @returns its id @throws ApiError 503 `secret_key_retired` */
  keep(transaction: Transaction, text: string): Promise<string>;
  /** @throws UnknownKeyError, BrokenSealError */
  read(executable: Executable, id: string): Promise<string>;
}

type StoredText = SealedText & { id: string };

export function createSealedTexts(ring: KeyRing): SealedTexts {
  return {
    async keep(transaction, text) {
      const id = randomUUID();
      const { keyId, wrappedKey, sealedValue } = await encryptValue(ring, bindingOf(id), text);
      try {
        await transaction.query(
          'insert into sealed_texts (id, key_id, wrapped_key, sealed_value) values ($1, $2, $3, $4)',
          [id, keyId, wrappedKey, sealedValue],
        );
      } catch (error) {
        throw explainRetiredKey(error, ring);
      }
      return id;
    },

    async read(executable, id) {
      const [stored] = await executable.query<StoredText>(
        'select key_id as "keyId", wrapped_key as "wrappedKey", sealed_value as "sealedValue" from sealed_texts where id = $1',
        [id],
      );
      if (!stored) throw new Error(`there is no sealed text ${id}`);
      return decryptValue(ring, bindingOf(id), stored);
    },
  };
}

/** Keeps all who seal texts waiting until the transaction ends. */
export async function lockSealedTexts(transaction: Transaction): Promise<void> {
  await transaction.query('lock table sealed_texts in share row exclusive mode');
}

/** Encrypts the data keys of all texts with the current key. @returns of how many @throws UnknownKeyError, BrokenSealError */
export async function rewrapTexts(database: Database, ring: KeyRing): Promise<number> {
  // Few: a text of a person's for each change of a configuration.
  const texts = await database.query<WrappedKey & { id: string }>(
    'select id, key_id as "keyId", wrapped_key as "wrappedKey" from sealed_texts where key_id <> $1',
    [ring.currentId],
  );
  for (const text of texts) {
    const { keyId, wrappedKey } = await rewrapKey(ring, bindingOf(text.id), text);
    await database.query('update sealed_texts set key_id = $2, wrapped_key = $3 where id = $1', [
      text.id,
      keyId,
      wrappedKey,
    ]);
  }
  return texts.length;
}

function bindingOf(id: string): Binding {
  return { text: id };
}
