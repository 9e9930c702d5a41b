import { type DockerAuthConfig, dockerAuthSecretKey, type SecretScope } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import type { DocumentProblem } from '../../queue/index.ts';
import { decryptValue } from './envelope.ts';
import { type KeyRing, UnknownKeyError } from './key-ring.ts';
import { BrokenSealError } from './sealing.ts';
import { readDockerAuth } from './secret-value.ts';
import { type StoredSecret, takeSecrets, type WantedSecret } from './store.ts';

/** A claimed job that is to get its secrets. */
export interface SecretsRequest {
  jobId: number;
  attempt: number;
  executor: string;
  /** Who submitted it; null: deleted since. */
  userId: number | null;
  /** What it asks for. The credentials of registries come without being asked for. */
  keys: readonly string[];
}

export interface GivenSecrets {
  /** By key. */
  values: ReadonlyMap<string, string>;
  /** Empty where no credentials are kept. */
  dockerAuth: DockerAuthConfig;
}

/** Another instance may have the key, and this one after its next start. */
const retryWithoutKeySeconds = 10;

/** As `Secrets.give`. */
export async function giveSecrets(
  { database, ring, log }: { database: Database; ring: KeyRing; log: Logger },
  scope: SecretScope,
  requests: readonly SecretsRequest[],
): Promise<Map<number, GivenSecrets | DocumentProblem>> {
  const taken = await takeSecrets(database, scope, requests.flatMap(wantedSecrets));
  const entries = requests.map(async (request) => {
    const stored = taken.filter(({ jobId }) => jobId === request.jobId);
    return [request.jobId, await openAll(stored, request)] as const;
  });
  return new Map(await Promise.all(entries));

  async function openAll(
    stored: readonly StoredSecret[],
    { jobId, keys }: SecretsRequest,
  ): Promise<GivenSecrets | DocumentProblem> {
    const missing = keys.filter((key) => !stored.some((secret) => secret.key === key));
    if (missing.length > 0) return { problem: `the secret ${missing.join(', ')} was removed` };
    const values = new Map<string, string>();
    for (const secret of stored) {
      try {
        values.set(secret.key, await decryptValue(ring, secret));
      } catch (err) {
        const { key, version, keyId } = secret;
        log.error({ err, jobId, scope, key, version, keyId }, 'a secret cannot be decrypted');
        if (err instanceof UnknownKeyError) {
          return {
            problem: `the instance lacks the key of the secret ${key}`,
            retryAfterSeconds: retryWithoutKeySeconds,
          };
        }
        if (err instanceof BrokenSealError) return { problem: `the secret ${key} cannot be decrypted` };
        throw err;
      }
    }
    const registries = values.get(dockerAuthSecretKey);
    values.delete(dockerAuthSecretKey);
    return { values, dockerAuth: registries === undefined ? {} : readDockerAuth(registries) };
  }
}

function wantedSecrets({ keys, ...job }: SecretsRequest): WantedSecret[] {
  return [
    ...keys.map((key): WantedSecret => ({ ...job, key, cause: 'requested' })),
    { ...job, key: dockerAuthSecretKey, cause: 'registry' },
  ];
}
