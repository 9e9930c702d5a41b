import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import { hashAccessToken, newAccessToken } from './access-tokens.ts';

/**
 * Makes the first site admin, `admin`, unless the database has a user already, and writes its access token to
 * `DIR/admin-token` (0600). Safe with several instance processes starting on one database: one of them makes it.
 */
export async function createFirstAdmin({
  database,
  dataDirectory,
  log,
}: {
  database: Database;
  dataDirectory: string;
  log: Logger;
}): Promise<void> {
  const path = join(dataDirectory, 'admin-token');
  const token = newAccessToken();
  const created = await database.transaction(async (transaction) => {
    await transaction.query('lock table users in exclusive mode');
    const [existing] = await transaction.query('select 1 from users limit 1');
    if (existing) return false;
    await transaction.query(
      `with namespace as (insert into namespaces (name, kind) values ('admin', 'user') returning id),
            admin as (insert into users (namespace_id, site_admin) select id, true from namespace returning id)
       insert into access_tokens (user_id, note, token_sha256) select id, 'made at the first start', $1 from admin`,
      [hashAccessToken(token)],
    );
    // Before the commit: a crash in between leaves a file that the next start replaces, never an admin without a token.
    await writeSecretFile(path, `${token}\n`);
    return true;
  });
  if (created) log.info({ path }, 'made the site admin "admin"; its access token is in this file');
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
