import type { SecretScope, SecretView } from '@kiln/protocol';
import type { Database, Executable, Transaction } from '../../database/index.ts';
import type { Binding, SealedText } from './envelope.ts';
import type { WrappedKey } from './key-ring.ts';
import { lockSealedTexts } from './sealed-texts.ts';

/** What tells a value from all others, also those of the same secret; what its encryption is bound to. */
export interface SecretVersion {
  /** A UUID. */
  id: string;
  scope: SecretScope;
  key: string;
  version: number;
}

/** A value as it is stored. */
export interface StoredSecret extends SecretVersion, SealedText {}

/** Stored values open only with these properties, in this order. */
export function bindingOf({ id, scope, key, version }: SecretVersion): Binding {
  return { id, scope, key, version };
}

/** One secret that a job is to get, with what the log of its uses says about it. */
export interface WantedSecret {
  jobId: number;
  attempt: number;
  executor: string;
  /** Who submitted the job; null: deleted since. */
  userId: number | null;
  key: string;
  cause: 'requested' | 'registry';
}

const viewColumns = 'scope, key, version, created_at as "createdAt", updated_at as "updatedAt"';
const storedColumns = 's.id, s.scope, s.key, s.version, s.key_id as "keyId", s.wrapped_key as "wrappedKey"';

interface ViewRow {
  scope: SecretScope;
  key: string;
  version: number;
  createdAt: Date;
  updatedAt: Date;
}

/** By key. */
export async function listSecrets(
  database: Executable,
  scope: SecretScope | undefined,
): Promise<SecretView[]> {
  const rows = await database.query<ViewRow>(
    `select ${viewColumns} from executor_secrets where $1::text is null or scope = $1 order by key, scope`,
    [scope ?? null],
  );
  return rows.map(viewOf);
}

/** Keeps all other changes of secrets waiting until the transaction ends; jobs get theirs meanwhile. */
async function lockSecrets(transaction: Transaction): Promise<void> {
  await transaction.query('lock table executor_secrets in share row exclusive mode');
}

/** The version that a secret has now, which stays so until the transaction ends. */
export async function lockSecret(
  transaction: Transaction,
  scope: SecretScope,
  key: string,
): Promise<SecretVersion | undefined> {
  await lockSecrets(transaction);
  const [row] = await transaction.query<SecretVersion>(
    'select id, scope, key, version from executor_secrets where scope = $1 and key = $2',
    [scope, key],
  );
  return row;
}

export async function storeSecret(transaction: Transaction, secret: StoredSecret): Promise<SecretView> {
  const { id, scope, key, version, keyId, wrappedKey, sealedValue } = secret;
  const [row] = await transaction.query<ViewRow>(
    `insert into executor_secrets (id, scope, key, version, key_id, wrapped_key, sealed_value)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (id) do update set version = excluded.version, key_id = excluded.key_id,
       wrapped_key = excluded.wrapped_key, sealed_value = excluded.sealed_value, updated_at = now()
     returning ${viewColumns}`,
    [id, scope, key, version, keyId, wrappedKey, sealedValue],
  );
  if (!row) throw new Error('a stored secret gave no row');
  return viewOf(row);
}

/** @returns whether it was there */
export async function deleteSecret(database: Executable, scope: SecretScope, key: string): Promise<boolean> {
  const rows = await database.query(
    'delete from executor_secrets where scope = $1 and key = $2 returning id',
    [scope, key],
  );
  return rows.length > 0;
}

/** Those of the keys that a secret has. */
export async function existingKeys(
  database: Executable,
  scope: SecretScope,
  keys: readonly string[],
): Promise<Set<string>> {
  const rows = await database.query<{ key: string }>(
    'select key from executor_secrets where scope = $1 and key = any($2::text[])',
    [scope, keys],
  );
  return new Set(rows.map(({ key }) => key));
}

const takeStatement = {
  name: 'secrets_take',
  text: `
    with wanted as (
      select * from jsonb_to_recordset($2::jsonb) as wanted ("jobId" bigint, attempt int, executor text,
        "userId" bigint, key text, cause text)
    ), used as (
      insert into executor_secret_uses (secret_id, scope, key, version, job_id, attempt, executor, user_id, cause)
      select s.id, s.scope, s.key, s.version, wanted."jobId", wanted.attempt, wanted.executor, wanted."userId", wanted.cause
      from wanted join executor_secrets s on s.scope = $1 and s.key = wanted.key
      returning secret_id
    )
    select ${storedColumns}, s.sealed_value as "sealedValue"
    from executor_secrets s where s.id in (select secret_id from used)`,
};

/**
 * Those of the wanted secrets that exist, as they are now, each once. Their uses are recorded, and that is committed
 * before the secrets are here.
 */
export function takeSecrets(
  database: Database,
  scope: SecretScope,
  wanted: readonly WantedSecret[],
): Promise<StoredSecret[]> {
  return database.query<StoredSecret>(takeStatement, [scope, JSON.stringify(wanted)]);
}

/** Some of the secrets whose data keys are not encrypted with this key. */
export function secretsOfOtherKeys(
  database: Database,
  keyId: string,
  limit: number,
): Promise<(SecretVersion & WrappedKey)[]> {
  return database.query<SecretVersion & WrappedKey>(
    `select ${storedColumns} from executor_secrets s where key_id <> $1 order by s.id limit $2`,
    [keyId, limit],
  );
}

/** Replaces the wrapped data key of exactly this version: a new value has a data key of its own. */
export async function storeWrappedKey(
  database: Database,
  { id, version }: SecretVersion,
  { keyId, wrappedKey }: WrappedKey,
): Promise<void> {
  await database.query(
    'update executor_secrets set key_id = $3, wrapped_key = $4 where id = $1 and version = $2',
    [id, version, keyId, wrappedKey],
  );
}

/** Forgets the keys that nothing needs, but for this one. @returns their ids */
export async function retireKeys(transaction: Transaction, keptId: string): Promise<string[]> {
  // What is being encrypted with one of them would be found too late.
  await lockSecrets(transaction);
  await lockSealedTexts(transaction);
  const rows = await transaction.query<{ id: string }>(
    `delete from secret_keys
     where id <> $1 and not exists (select from executor_secrets where key_id = secret_keys.id)
       and not exists (select from sealed_texts where key_id = secret_keys.id)
     returning id`,
    [keptId],
  );
  return rows.map(({ id }) => id).sort();
}

function viewOf({ createdAt, updatedAt, ...row }: ViewRow): SecretView {
  return { ...row, createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString() };
}
