import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readlink, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll } from 'vitest';
import {
  type Connection,
  createDatabase,
  type Database,
  type EmbeddedServer,
  migrate,
  readMigrations,
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
const templateDatabase = 'template_kiln';
const root = join(tmpdir(), 'kiln-test-postgres');
let running: Promise<{ server: EmbeddedServer; directory: string }> | undefined;
let created = 0;

/**
 * A fresh, migrated database on a real Postgres, for one test file or one test. The server is started by the first
 * call in a test file, shared by later ones, and ends with the file.
 */
export async function startTestDatabase({
  migrated = true,
}: TestDatabaseOptions = {}): Promise<TestDatabase> {
  running ??= startServer();
  const { server } = await running;
  const database = `test_${++created}`;
  await administer(
    server,
    `create database ${database} template ${migrated ? templateDatabase : 'template0'}`,
  );
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

async function startServer(): Promise<{ server: EmbeddedServer; directory: string }> {
  await mkdir(root, { recursive: true, mode: 0o711 });
  await removeLeftovers();
  const prepared = await prepareCluster();
  const directory = await mkdtemp(join(root, `${process.pid}-`));
  // Links and owners too; Node's own copy would not keep the owner.
  await promisify(execFile)('cp', ['-a', `${prepared}/.`, directory]);
  const server = await startEmbeddedServer({ dataDirectory: directory, durable: false, log });
  return { server, directory };
}

/**
 * A cluster with the migrated template database, made once per state of the migrations: initialising takes most of
 * the time that a test file would spend on its server (measured: 13 s against 3 s on a machine that is busy with tests).
 */
async function prepareCluster(): Promise<string> {
  const key = createHash('sha256');
  for (const { name, checksum } of await readMigrations()) key.update(`${name} ${checksum}\n`);
  const place = join(root, `cluster-${key.digest('hex').slice(0, 16)}`);
  if (await exists(place)) return place;
  const directory = await mkdtemp(join(root, `${process.pid}-`));
  {
    await using server = await startEmbeddedServer({ dataDirectory: directory, durable: false, log });
    await administer(server, `create database ${templateDatabase}`);
    const connection = { ...server.connection, database: templateDatabase };
    await using database = createDatabase({ connection, log });
    await migrate({ database, log });
  }
  try {
    await rename(directory, place);
  } catch (error) {
    // Another test process was faster.
    await rm(directory, { recursive: true, force: true });
    if (!(await exists(place))) throw error;
  }
  return place;
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

/** A test process that was killed could not remove its data; and migrations change. */
async function removeLeftovers(): Promise<void> {
  const yesterday = Date.now() - 24 * 3600 * 1000;
  for (const name of await readdir(root)) {
    const path = join(root, name);
    const old = name.startsWith('cluster-')
      ? ((await stat(path).catch(() => undefined))?.mtimeMs ?? yesterday) < yesterday
      : !isRunning(Number(name.split('-')[0]));
    if (!old) continue;
    const socketDirectory = await readlink(join(path, 'postgres', 'socket')).catch(() => undefined);
    if (socketDirectory) await rm(socketDirectory, { recursive: true, force: true });
    await rm(path, { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
