import { type DockerAuthConfig, dockerAuthSecretKey, type SecretScope } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import type { DocumentProblem } from '../../queue/index.ts';
import { decryptValue } from './envelope.ts';
import { type KeyRing, UnknownKeyError } from './key-ring.ts';
import { BrokenSealError } from './sealing.ts';
import { readDockerAuth } from './secret-value.ts';
import { bindingOf, type StoredSecret, takeSecrets, type WantedSecret } from './store.ts';

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

export interface GiverOptions {
  database: Database;
  ring: KeyRing;
  log: Logger;
}

/** By key: values, and why there is none. */
type Opened = ReadonlyMap<string, string | DocumentProblem>;

/** Another instance may have the key, and this one after its next start. */
const retryWithoutKeySeconds = 10;

/** As `Secrets.give`. */
export async function giveSecrets(
  options: GiverOptions,
  scope: SecretScope,
  requests: readonly SecretsRequest[],
): Promise<Map<number, GivenSecrets | DocumentProblem>> {
  const stored = await takeSecrets(options.database, scope, requests.flatMap(wantedSecrets));
  // Once each, however many jobs get it: values may be large.
  const opened: Opened = new Map(
    await Promise.all(stored.map(async (secret) => [secret.key, await open(options, secret)] as const)),
  );
  return new Map(requests.map((request) => [request.jobId, pick(request, opened)]));
}

function wantedSecrets({ keys, ...job }: SecretsRequest): WantedSecret[] {
  return [
    ...keys.map((key): WantedSecret => ({ ...job, key, cause: 'requested' })),
    { ...job, key: dockerAuthSecretKey, cause: 'registry' },
  ];
}

async function open({ ring, log }: GiverOptions, secret: StoredSecret): Promise<string | DocumentProblem> {
  try {
    return await decryptValue(ring, bindingOf(secret), secret);
  } catch (err) {
    const { scope, key, version, keyId } = secret;
    log.error({ err, scope, key, version, keyId }, 'a secret cannot be decrypted');
    if (err instanceof BrokenSealError) return { problem: `the secret ${key} cannot be decrypted` };
    if (!(err instanceof UnknownKeyError)) throw err;
    return {
      problem: `the instance lacks the key of the secret ${key}`,
      retryAfterSeconds: retryWithoutKeySeconds,
    };
  }
}

function pick({ keys }: SecretsRequest, opened: Opened): GivenSecrets | DocumentProblem {
  const missing = keys.filter((key) => !opened.has(key));
  if (missing.length > 0) return { problem: `the secret ${missing.join(', ')} was removed` };
  const values = new Map<string, string>();
  for (const key of [...keys, dockerAuthSecretKey]) {
    const value = opened.get(key);
    if (typeof value === 'object') return value;
    if (value !== undefined) values.set(key, value);
  }
  const registries = values.get(dockerAuthSecretKey);
  values.delete(dockerAuthSecretKey);
  return { values, dockerAuth: registries === undefined ? {} : readDockerAuth(registries) };
}
