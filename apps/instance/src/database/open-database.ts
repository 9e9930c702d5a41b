import pg from 'pg';
import type { Logger } from 'pino';
import { createDatabase } from './connections.ts';
import type { Database } from './database.ts';
import { startEmbeddedServer } from './embedded/server.ts';
import { DatabaseStartError, messageOf } from './errors.ts';

export interface OpenDatabaseOptions {
  /** Holds the embedded database, in `postgres/`; unused with a URL. */
  dataDirectory: string;
  /** `postgres://...` of an own Postgres 14 or newer, without a pooler that shares sessions between clients. */
  databaseURL?: string | undefined;
  log: Logger;
  /** False only for throw-away data of tests and benches: embedded commits are not forced to the disk. */
  durable?: boolean;
}

const minExternalVersion = 140_000;
const databaseName = 'kiln';

/**
 * Opens the database: the one that `databaseURL` names, else an embedded Postgres in the data directory, which ends
 * with the returned object. The schema is the caller's next step (`migrate`).
 * @throws DatabaseStartError
 */
export async function openDatabase(options: OpenDatabaseOptions): Promise<Database> {
  if (options.databaseURL) return openExternal(options.databaseURL, options.log);
  const { dataDirectory, durable = true, log } = options;
  const server = await startEmbeddedServer({ dataDirectory, durable, log });
  try {
    await createKilnDatabase(server.connection);
    const connection = { ...server.connection, database: databaseName };
    const database = createDatabase({ connection, log });
    return {
      ...database,
      async [Symbol.asyncDispose]() {
        await database[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

async function openExternal(connectionString: string, log: Logger): Promise<Database> {
  if (!/^postgres(ql)?:\/\//.test(connectionString)) {
    throw new DatabaseStartError('KILN_DATABASE_URL must start with postgres:// or postgresql://.');
  }
  const database = createDatabase({ connection: { connectionString }, log });
  try {
    const [server] = await database.query<{ version: number; encoding: string; standby: boolean }>(
      `select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding,
         pg_is_in_recovery() as standby`,
    );
    if (!server) throw new DatabaseStartError('The database of KILN_DATABASE_URL does not answer.');
    if (server.version < minExternalVersion) {
      throw new DatabaseStartError(
        `The database of KILN_DATABASE_URL is Postgres ${Math.floor(server.version / 10_000)}; Kiln needs 14 or newer.`,
      );
    }
    if (server.encoding !== 'UTF8') {
      throw new DatabaseStartError(
        `The database of KILN_DATABASE_URL has encoding ${server.encoding}; Kiln needs UTF8. Create it with ENCODING 'UTF8'.`,
      );
    }
    if (server.standby) {
      throw new DatabaseStartError('KILN_DATABASE_URL names a read-only standby; name the primary server.');
    }
    return database;
  } catch (error) {
    await database[Symbol.asyncDispose]();
    if (error instanceof DatabaseStartError) throw error;
    // The URL holds a password: it is never part of a message.
    throw new DatabaseStartError(`The database of KILN_DATABASE_URL cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function createKilnDatabase(connection: { host: string; port: number; user: string }): Promise<void> {
  const client = new pg.Client({ ...connection, database: 'postgres', connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const found = await client.query('select from pg_database where datname = $1', [databaseName]);
    if (found.rowCount === 0) await client.query(`create database ${pg.escapeIdentifier(databaseName)}`);
  } finally {
    await client.end().catch(() => undefined);
  }
}
