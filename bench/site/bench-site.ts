import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { type EmbeddedServer, startEmbeddedServer } from '../../apps/instance/src/database/index.ts';
import { sharedSecret, startInstanceProcess } from '../../tools/process/programs.ts';

/** A Postgres server with fsync on, and databases on it for Kiln and for the peers of one run. */
export interface BenchPostgres extends AsyncDisposable {
  /** An empty database; URL for `KILN_DATABASE_URL` and for node-postgres. */
  createDatabase(name: string): Promise<string>;
}

export async function startBenchPostgres(): Promise<BenchPostgres> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bench-postgres-'));
  await chmod(directory, 0o711);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const server = cleanup.use(
    await startEmbeddedServer({
      dataDirectory: directory,
      durable: true,
      log: pino({ level: 'error' }, pino.destination(2)),
    }),
  );
  const started = cleanup.move();
  return {
    async createDatabase(name) {
      const client = new pg.Client({ ...server.connection, database: 'postgres' });
      await client.connect();
      try {
        await client.query(`create database ${pg.escapeIdentifier(name)}`);
      } finally {
        await client.end();
      }
      return databaseURL(server, name);
    },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

function databaseURL({ connection }: EmbeddedServer, name: string): string {
  const host = encodeURIComponent(connection.host);
  return `postgres://${connection.user}@/${name}?host=${host}&port=${connection.port}`;
}

/** An instance as a process of its own, as users run it, on the bench's Postgres. */
export interface BenchInstance extends AsyncDisposable {
  url: string;
  adminToken: string;
  sharedSecret: string;
  pid: number;
}

export async function startBenchInstance(databaseURL: string, signal: AbortSignal): Promise<BenchInstance> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bench-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  const instance = cleanup.use(
    await startInstanceProcess({
      dataDirectory: path.join(directory, 'data'),
      logFile: path.join(directory, 'instance.log'),
      env: { KILN_DATABASE_URL: databaseURL, KILN_LOG_LEVEL: 'warn' },
      signal,
    }),
  );
  const secret = await sharedSecret(instance);
  const started = cleanup.move();
  return {
    url: instance.url,
    adminToken: instance.adminToken,
    sharedSecret: secret,
    pid: instance.process.pid,
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}
