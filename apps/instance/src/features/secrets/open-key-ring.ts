import { randomBytes } from 'node:crypto';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import { createKeyRing, type KeyRing, parseKeys } from './key-ring.ts';
import { keyBytes } from './sealing.ts';

/** The key that encrypts secrets is missing, unusable or another one; the message says where it was looked for. */
export class SecretKeyError extends Error {
  override readonly name = 'SecretKeyError';
}

export interface KeyRingOptions {
  database: Database;
  dataDirectory: string;
  /** `KILN_SECRET_KEY`: keys as {@link parseKeys} reads them. */
  key?: string | undefined;
  /** `KILN_SECRET_KEY_FILE`: a file of the operator's with keys. */
  keyFile?: string | undefined;
  log: Logger;
}

/**
 * The instance's keys: those of the settings, else of `secret-key` in the data directory, which is made (0600) when
 * the database has no secrets' key yet. The database remembers which keys are in force, by fingerprint; an instance
 * that lacks one of them could not give jobs their secrets, so it does not start. Safe with several starting at once.
 * @throws SecretKeyError
 */
export async function openKeyRing(options: KeyRingOptions): Promise<KeyRing> {
  const { database, log } = options;
  const source = await readSource(options);
  const text = source.text ?? (await makeKeyFile(source.name, await keysInForce(database), log));
  const ring = ringOf(text, source.name);
  await database.transaction(async (transaction) => {
    await transaction.query('lock table secret_keys in share row exclusive mode');
    const rows = await transaction.query<{ id: string }>('select id from secret_keys');
    const missing = rows.map(({ id }) => id).filter((id) => !ring.ids.includes(id));
    if (missing.length > 0) throw new SecretKeyError(otherKey(source.name, ring, missing));
    await transaction.query('insert into secret_keys (id) values ($1) on conflict do nothing', [
      ring.currentId,
    ]);
  });
  return ring;
}

interface Source {
  /** For people: a variable or a path. */
  name: string;
  /** Undefined: the file of the data directory is not there. */
  text: string | undefined;
}

async function readSource({ dataDirectory, key, keyFile, log }: KeyRingOptions): Promise<Source> {
  if (key !== undefined && keyFile !== undefined) {
    throw new SecretKeyError('KILN_SECRET_KEY and KILN_SECRET_KEY_FILE are both set; keep one of them');
  }
  if (key !== undefined) return { name: 'KILN_SECRET_KEY', text: key };
  const path = keyFile ?? join(dataDirectory, 'secret-key');
  try {
    const text = await readFile(path, 'utf8');
    const { mode } = await stat(path);
    if ((mode & 0o004) !== 0) {
      log.warn({ path }, 'everybody on this machine can read the key that encrypts secrets; chmod it');
    }
    return { name: path, text };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && keyFile === undefined) return { name: path, text: undefined };
    throw new SecretKeyError(`the key that encrypts secrets cannot be read: ${message}`, { cause: error });
  }
}

async function keysInForce(database: Database): Promise<string[]> {
  const rows = await database.query<{ id: string }>('select id from secret_keys order by id');
  return rows.map(({ id }) => id);
}

/** @returns the text of the new file */
async function makeKeyFile(path: string, inForce: readonly string[], log: Logger): Promise<string> {
  if (inForce.length > 0) {
    throw new SecretKeyError(
      `the secrets in the database are encrypted with the key ${inForce.join(' and ')}, and ${path} is not there. ${remedy}`,
    );
  }
  const text = `${randomBytes(keyBytes).toString('hex')}\n`;
  {
    await using file = await open(`${path}.new`, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(`${path}.new`, path);
  // The name too: a secret that survives a power failure without its key is lost.
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
  log.info(
    { path },
    'made the key that encrypts secrets; keep it with your backups, apart from the database',
  );
  return text;
}

const remedy =
  'Put the file back from a backup, or set KILN_SECRET_KEY_FILE to the one that all instances on this database share. If the key is lost, so are the secrets: "delete from executor_secrets; delete from secret_keys" in the database lets the instance start without them.';

function otherKey(name: string, ring: KeyRing, missing: readonly string[]): string {
  return `the secrets in the database are encrypted with the key ${missing.join(' and ')}, and ${name} holds ${ring.ids.join(' and ')}. ${remedy}`;
}

function ringOf(text: string, name: string): KeyRing {
  try {
    return createKeyRing(parseKeys(text));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new SecretKeyError(`${name}: ${error.message}`);
  }
}
