import type { Logger } from 'pino';
import type { Database, Transaction } from '../../database/index.ts';
import { createKeyRing, type KeyRing, parseKeys } from './key-ring.ts';
import { type KeySourceOptions, makeKeyFile, readKeySource, SecretKeyError } from './key-source.ts';

export interface KeyRingOptions extends KeySourceOptions {
  database: Database;
  /** Deletes the secrets whose key is not there, in place of refusing to start. */
  forgetSecrets?: boolean | undefined;
}

/**
 * The instance's keys: those of the settings, else of `secret-key` in the data directory, which is made when the
 * database has no secrets' key yet. The database remembers which keys are in force, by fingerprint; an instance that
 * lacks one of them could not give jobs their secrets, so it does not start. Safe with several starting at once.
 * @throws SecretKeyError
 */
export async function openKeyRing(options: KeyRingOptions): Promise<KeyRing> {
  const { database, log, forgetSecrets = false } = options;
  const source = await readKeySource(options);
  if (source.text === undefined && !forgetSecrets) {
    // A new key in the place of a lost one would hide the loss from the next start.
    const inForce = await keysInForce(database);
    if (inForce.length > 0) throw refusal(inForce, `${source.name} is not there`);
  }
  const ring = ringOf(source.text ?? (await makeKeyFile(source.name, log)), source.name);
  await database.transaction(async (transaction) => {
    await transaction.query('lock table secret_keys in share row exclusive mode');
    if (forgetSecrets) await forgetOthers(transaction, ring, log);
    const missing = (await keysInForce(transaction)).filter((id) => !ring.ids.includes(id));
    if (missing.length > 0) throw refusal(missing, `${source.name} holds ${ring.ids.join(' and ')}`);
    await transaction.query('insert into secret_keys (id) values ($1) on conflict do nothing', [
      ring.currentId,
    ]);
  });
  return ring;
}

async function keysInForce(database: Pick<Database, 'query'>): Promise<string[]> {
  const rows = await database.query<{ id: string }>('select id from secret_keys order by id');
  return rows.map(({ id }) => id);
}

async function forgetOthers(transaction: Transaction, ring: KeyRing, log: Logger): Promise<void> {
  const secrets = await transaction.query<{ key: string; scope: string }>(
    'delete from executor_secrets where key_id <> all($1::text[]) returning key, scope',
    [ring.ids],
  );
  const texts = await transaction.query(
    'delete from sealed_texts where key_id <> all($1::text[]) returning id',
    [ring.ids],
  );
  const keys = await transaction.query('delete from secret_keys where id <> all($1::text[]) returning id', [
    ring.ids,
  ]);
  if (keys.length > 0)
    log.warn(
      { secrets, texts: texts.length, keys },
      'deleted the secrets whose key is not there, and versions of the site configuration',
    );
}

function refusal(keyIds: readonly string[], otherwise: string): SecretKeyError {
  return new SecretKeyError(
    `the secrets in the database are encrypted with the key ${keyIds.join(' and ')}, and ${otherwise}. ` +
      'Put the key back from a backup, or set KILN_SECRET_KEY_FILE to the one that all instances on this database share. ' +
      'If it is lost, so are executor secrets and the site configuration: "kiln serve --forget-secrets" deletes them ' +
      'and starts with a new configuration, whose shared secret every executor then needs.',
  );
}

function ringOf(text: string, name: string): KeyRing {
  try {
    return createKeyRing(parseKeys(text));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new SecretKeyError(`${name}: ${error.message}`);
  }
}
