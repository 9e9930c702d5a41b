import { randomUUID } from 'node:crypto';
import type { RotatedKey, SecretScope, SecretUseList, SecretView } from '@kiln/protocol';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import { type Database, sqlState } from '../../database/index.ts';
import type { DocumentProblem } from '../../queue/index.ts';
import { encryptValue, rewrapKey } from './envelope.ts';
import { type GivenSecrets, giveSecrets, type SecretsRequest } from './give-secrets.ts';
import { type KeyRing, UnknownKeyError, type WrappedKey } from './key-ring.ts';
import { BrokenSealError } from './sealing.ts';
import { checkSecretValue } from './secret-value.ts';
import {
  deleteSecret,
  existingKeys,
  listSecrets,
  lockSecret,
  retireKeys,
  type SecretVersion,
  secretsOfOtherKeys,
  storeSecret,
  storeWrappedKey,
} from './store.ts';
import { listUses, type UsesFilter } from './uses.ts';

/** Executor secrets: encrypted at rest, given to jobs, never shown. */
export interface Secrets {
  list(scope: SecretScope | undefined): Promise<SecretView[]>;
  /**
   * Makes a secret, or gives it a new value and the next version.
   * @throws ApiError 400 `invalid_secret`, 503 `secret_key_retired`
   */
  set(scope: SecretScope, key: string, value: string): Promise<SetSecret>;
  /** @throws ApiError 404 `unknown_secret` */
  remove(scope: SecretScope, key: string): Promise<void>;
  /** @throws ApiError 400 `unknown_secret` that names the keys which no secret has */
  requireKeys(scope: SecretScope, keys: readonly string[]): Promise<void>;
  /** Secrets of claimed jobs as they are now, by job id; every use is recorded before. */
  give(
    scope: SecretScope,
    requests: readonly SecretsRequest[],
  ): Promise<Map<number, GivenSecrets | DocumentProblem>>;
  /** Who got which secret, newest first. */
  uses(filter: UsesFilter): Promise<SecretUseList>;
  /**
   * Encrypts all data keys with the current key and retires the others.
   * @throws ApiError 409 `unreadable_secret`
   */
  rotateKey(): Promise<RotatedKey>;
}

export interface SetSecret {
  secret: SecretView;
  /** Remarks on the value that did not refuse it. */
  notices: string[];
}

export interface SecretsOptions {
  database: Database;
  ring: KeyRing;
  log: Logger;
}

const rotationBatch = 100;
const foreignKeyViolation = '23503';

export function createSecrets({ database, ring, log }: SecretsOptions): Secrets {
  return {
    list: (scope) => listSecrets(database, scope),

    async set(scope, key, value) {
      const notices = checkSecretValue(key, value);
      try {
        const secret = await database.transaction(async (transaction) => {
          const before = await lockSecret(transaction, scope, key);
          const version = { id: before?.id ?? randomUUID(), scope, key, version: (before?.version ?? 0) + 1 };
          return storeSecret(transaction, await encryptValue(ring, version, value));
        });
        return { secret, notices };
      } catch (error) {
        if (sqlState(error) !== foreignKeyViolation) throw error;
        throw new ApiError(
          503,
          'secret_key_retired',
          `This instance encrypts with the key ${ring.currentId}, which was retired by a rotation`,
          'Start it again with the new key first.',
        );
      }
    },

    async remove(scope, key) {
      if (await deleteSecret(database, scope, key)) return;
      throw new ApiError(404, 'unknown_secret', `There is no secret ${key} of scope ${scope}`);
    },

    async requireKeys(scope, keys) {
      if (keys.length === 0) return;
      const existing = await existingKeys(database, scope, keys);
      const unknown = keys.filter((key) => !existing.has(key));
      if (unknown.length === 0) return;
      throw new ApiError(
        400,
        'unknown_secret',
        `There is no executor secret ${unknown.join(', ')} of scope ${scope}`,
        'A site admin makes it: kiln secret set KEY',
      );
    },

    give: (scope, requests) => giveSecrets({ database, ring, log }, scope, requests),

    uses: (filter) => listUses(database, filter),

    async rotateKey() {
      let rewrapped = 0;
      for (;;) {
        const secrets = await secretsOfOtherKeys(database, ring.currentId, rotationBatch);
        if (secrets.length === 0) break;
        for (const secret of secrets) {
          await storeWrappedKey(database, secret, await rewrap(ring, secret));
          rewrapped++;
        }
      }
      const retired = await database.transaction((transaction) => retireKeys(transaction, ring.currentId));
      log.info({ keyId: ring.currentId, rewrapped, retired }, 'the key that encrypts secrets was rotated');
      return { keyId: ring.currentId, rewrapped, retired };
    },
  };
}

async function rewrap(ring: KeyRing, secret: SecretVersion & WrappedKey): Promise<WrappedKey> {
  try {
    return await rewrapKey(ring, secret);
  } catch (error) {
    if (!(error instanceof UnknownKeyError || error instanceof BrokenSealError)) throw error;
    throw new ApiError(
      409,
      'unreadable_secret',
      `The secret ${secret.key} of scope ${secret.scope} cannot be decrypted: ${error.message}`,
      'Set it anew or remove it, then rotate again.',
    );
  }
}
