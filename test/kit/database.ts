import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll } from 'vitest';
import {
  type Connection,
  createDatabase,
  type Database,
  type EmbeddedServer,
  migrate,
  startEmbeddedServer,
} from '../../apps/instance/src/database/index.ts';

export interface TestDatabase extends AsyncDisposable {
  database: Database;
  /** For a second `createDatabase`, or a raw client, on the same database. */
  connection: Extract<Connection, { host: string }>;
  /** The same as a URL, as `KILN_DATABASE_URL` takes it. */
  url: string;
}

export interface TestDatabaseOptions {
  /** False: an empty database. */
  migrated?: boolean;
}

const log = pino({ level: 'silent' });
const templateName = 'template_kiln';
const root = join(tmpdir(), 'kiln-test-postgres');
let running: Promise<{ server: EmbeddedServer; directory: string; template: Promise<void> }> | undefined;
let created = 0;

/**
 * A fresh, migrated database on a real Postgres, for one test file or one test. The server is started by the first
 * call in a test file, shared by later ones, and ends with the file.
 */
export async function startTestDatabase({
  migrated = true,
}: TestDatabaseOptions = {}): Promise<TestDatabase> {
  running ??= startServer();
  const { server, template } = await running;
  if (migrated) await template;
  const database = `test_${++created}`;
  await administer(server, `create database ${database} template ${migrated ? templateName : 'template0'}`);
  const connection = { ...server.connection, database };
  const opened = createDatabase({ connection, log });
  return {
    database: opened,
    connection,
    url: `postgres://${connection.user}@/${database}?host=${encodeURIComponent(connection.host)}&port=${connection.port}`,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await administer(server, `drop database if exists ${database} with (force)`);
    },
  };
}

afterAll(async () => {
  if (!running) return;
  const { server, directory } = await running;
  running = undefined;
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

async function startServer() {
  await mkdir(root, { recursive: true, mode: 0o711 });
  await removeLeftovers();
  const directory = await mkdtemp(join(root, `${process.pid}-`));
  const server = await startEmbeddedServer({ dataDirectory: directory, durable: false, log });
  const template = makeTemplate(server);
  // Awaited only by callers that want a migrated database; they see the failure.
  template.catch(() => undefined);
  return { server, directory, template };
}

async function makeTemplate(server: EmbeddedServer): Promise<void> {
  await administer(server, `create database ${templateName}`);
  await using database = createDatabase({
    connection: { ...server.connection, database: templateName },
    log,
  });
  await migrate({ database, log });
}

async function administer(server: EmbeddedServer, statement: string): Promise<void> {
  const client = new pg.Client({ ...server.connection, database: 'postgres' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** A test process that was killed could not remove its data. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(root)) {
    const pid = Number(name.split('-')[0]);
    try {
      process.kill(pid, 0);
    } catch {
      await rm(join(root, name), { recursive: true, force: true });
    }
  }
}
