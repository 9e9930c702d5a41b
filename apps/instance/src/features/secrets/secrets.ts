import { randomUUID } from 'node:crypto';
import type { RotatedKey, SecretScope, SecretUseList, SecretView } from '@kiln/protocol';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';
import type { Database } from '../../database/index.ts';
import type { DocumentProblem } from '../../queue/index.ts';
import { encryptValue, rewrapKey } from './envelope.ts';
import { type GivenSecrets, giveSecrets, type SecretsRequest } from './give-secrets.ts';
import { type KeyRing, UnknownKeyError } from './key-ring.ts';
import { explainRetiredKey } from './retired-key.ts';
import { rewrapTexts } from './sealed-texts.ts';
import { BrokenSealError } from './sealing.ts';
import { checkSecretValue } from './secret-value.ts';
import {
  bindingOf,
  deleteSecret,
  existingKeys,
  listSecrets,
  lockSecret,
  retireKeys,
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

export function createSecrets({ database, ring, log }: SecretsOptions): Secrets {
  return {
    list: (scope) => listSecrets(database, scope),

    async set(scope, key, value) {
      const notices = checkSecretValue(key, value);
      try {
        const secret = await database.transaction(async (transaction) => {
          const before = await lockSecret(transaction, scope, key);
          const version = { id: before?.id ?? randomUUID(), scope, key, version: (before?.version ?? 0) + 1 };
          const sealed = await encryptValue(ring, bindingOf(version), value);
          return storeSecret(transaction, { ...version, ...sealed });
        });
        return { secret, notices };
      } catch (error) {
        throw explainRetiredKey(error, ring);
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
          await storeWrappedKey(
            database,
            secret,
            await refuseUnreadable(
              `The secret ${secret.key} of scope ${secret.scope}`,
              rewrapKey(ring, bindingOf(secret), secret),
            ),
          );
          rewrapped++;
        }
      }
      rewrapped += await refuseUnreadable('A text that is kept encrypted', rewrapTexts(database, ring));
      const retired = await database.transaction((transaction) => retireKeys(transaction, ring.currentId));
      log.info({ keyId: ring.currentId, rewrapped, retired }, 'the key that encrypts secrets was rotated');
      return { keyId: ring.currentId, rewrapped, retired };
    },
  };
}

/** @throws ApiError 409 `unreadable_secret` */
async function refuseUnreadable<Result>(what: string, rewrapping: Promise<Result>): Promise<Result> {
  try {
    return await rewrapping;
  } catch (error) {
    if (!(error instanceof UnknownKeyError || error instanceof BrokenSealError)) throw error;
    throw new ApiError(
      409,
      'unreadable_secret',
      `${what} cannot be decrypted: ${error.message}`,
      'Start this instance with that key too. A secret that is broken has to be set anew or removed. Then rotate again.',
    );
  }
}
