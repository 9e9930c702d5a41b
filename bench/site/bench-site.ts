import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { type EmbeddedServer, startEmbeddedServer } from '../../apps/instance/src/database/index.ts';
import { type InstanceProcess, sharedSecret, startInstanceProcess } from '../../tools/process/programs.ts';

/** A Postgres server with fsync on, and databases on it for Kiln and for the peers of one run. */
export interface BenchPostgres extends AsyncDisposable {
  /** An empty database; URL for `KILN_DATABASE_URL` and for node-postgres. */
  createDatabase(name: string): Promise<string>;
}

export async function startBenchPostgres(): Promise<BenchPostgres> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bench-postgres-'));
  await chmod(directory, 0o711);
  const server = await startEmbeddedServer({
    dataDirectory: directory,
    durable: true,
    log: pino({ level: 'error' }, pino.destination(2)),
  });
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
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
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

export async function startBenchInstance(databaseURL: string): Promise<BenchInstance> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-bench-'));
  const instance: InstanceProcess = await startInstanceProcess({
    dataDirectory: path.join(directory, 'data'),
    logFile: path.join(directory, 'instance.log'),
    env: { KILN_DATABASE_URL: databaseURL, KILN_LOG_LEVEL: 'warn' },
  });
  return {
    url: instance.url,
    adminToken: instance.adminToken,
    sharedSecret: await sharedSecret(instance),
    pid: instance.process.pid,
    async [Symbol.asyncDispose]() {
      await instance[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
