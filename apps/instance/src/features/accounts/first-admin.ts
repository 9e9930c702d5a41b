import { access, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Database, Transaction } from '../../database/index.ts';
import { hashAccessToken, newAccessToken } from './access-tokens.ts';

export interface FirstAdminOptions {
  database: Database;
  dataDirectory: string;
  /** A UUID. */
  dataDirectoryId: string;
  log: Logger;
}

/**
 * Makes the first site admin, `admin`, unless the database has a user already. At the first start of a data directory
 * its file `admin-token` (0600) gets an access token of the first site admin: also where several instances share one
 * database, people find it beside each of them. A file that is there, or was deleted since, is left as it is. Safe
 * with several instance processes starting at once.
 */
export async function createFirstAdmin({
  database,
  dataDirectory,
  dataDirectoryId,
  log,
}: FirstAdminOptions): Promise<void> {
  const path = join(dataDirectory, 'admin-token');
  const token = newAccessToken();
  const made = await database.transaction(async (transaction) => {
    await transaction.query('lock table users in exclusive mode');
    const isNew = await recordDirectory(transaction, dataDirectoryId);
    const [existing] = await transaction.query('select 1 from users limit 1');
    if (existing && (!isNew || (await isThere(path)))) return undefined;
    const user = existing ? await firstAdmin(transaction) : await insertAdmin(transaction);
    if (!user) return undefined;
    await transaction.query(
      `insert into access_tokens (user_id, note, token_sha256) values ($1, 'made at the first start', $2)`,
      [user.id, hashAccessToken(token)],
    );
    // Before the commit: a crash in between leaves a file that the next start replaces, never an admin without a token.
    await writeSecretFile(path, `${token}\n`);
    return user;
  });
  if (made) log.info({ path }, `an access token of the site admin "${made.name}" is in this file`);
}

interface Admin {
  id: number;
  name: string;
}

/** @returns whether it is the first start of this data directory */
async function recordDirectory(transaction: Transaction, id: string): Promise<boolean> {
  const recorded = await transaction.query(
    'insert into data_directories (id) values ($1) on conflict do nothing returning id',
    [id],
  );
  return recorded.length > 0;
}

async function insertAdmin(transaction: Transaction): Promise<Admin | undefined> {
  const [admin] = await transaction.query<Admin>(
    `with namespace as (insert into namespaces (name, kind) values ('admin', 'user') returning id)
     insert into users (namespace_id, site_admin) select id, true from namespace returning id, 'admin' as name`,
  );
  return admin;
}

/** Undefined when no site admin is left. */
async function firstAdmin(transaction: Transaction): Promise<Admin | undefined> {
  const [admin] = await transaction.query<Admin>(
    `select users.id, namespaces.name from users join namespaces on namespaces.id = users.namespace_id
     where site_admin order by users.id limit 1`,
  );
  return admin;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Replaces a file as a whole, readable by its owner only from the first byte on. */
async function writeSecretFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  {
    await using file = await open(temporary, 'w', 0o600);
    await file.chmod(0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(temporary, path);
}
