import { randomBytes } from 'node:crypto';
import { chmod, glob, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { startEmbeddedServer } from '../../apps/instance/src/database/index.ts';
import { type InstanceProcess, startInstanceProcess } from '../../tools/process/programs.ts';

/** Two instances as processes of their own on one Postgres, every part of which can be killed. */
export interface ChaosSite extends AsyncDisposable {
  readonly instances: readonly [ChaosInstance, ChaosInstance];
  /** Access token of the site admin. */
  readonly adminToken: string;
  /** The shared secret of executors. */
  readonly sharedSecret: string;
  /** Namespaces that own jobs. */
  readonly tenants: readonly string[];
  /** What the instances logged as errors, which means that somebody must act, and which of them ended by themselves. */
  errors(): Promise<string[]>;
  /** `kill -9` of the postmaster; whoever supervises it starts it again. */
  killPostgres(): Promise<void>;
  /** Runs a statement as superuser, on a connection of its own that no fault of a test touches. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
  /** A connection of somebody else to the same database, as the role that the instances use too. */
  connectStranger(): Promise<Stranger>;
}

export interface ChaosInstance {
  readonly url: string;
  /** `kill -9`; resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it again, on the same address and data. */
  start(): Promise<void>;
}

export interface Stranger extends AsyncDisposable {
  readonly client: pg.Client;
}

const role = 'site';
/** What a small Postgres of an operator offers to the role; so it can be used up. */
const connectionLimit = 100;

export async function startChaosSite(): Promise<ChaosSite> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-chaos-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o711);

  const postgresDirectory = path.join(directory, 'postgres');
  await mkdir(postgresDirectory, { mode: 0o711 });
  // Durable: with asynchronous commits a killed server would forget jobs that it had promised to keep.
  const server = cleanup.use(
    await startEmbeddedServer({
      dataDirectory: postgresDirectory,
      durable: true,
      log: pino({ level: 'silent' }),
    }),
  );
  const connectTo = async (user: string, database: string) => {
    const client = new pg.Client({ ...server.connection, user, database, connectionTimeoutMillis: 5000 });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  async function query<Row extends pg.QueryResultRow>(
    text: string,
    values?: unknown[],
    database = role,
  ): Promise<Row[]> {
    const client = await connectTo(server.connection.user, database);
    try {
      return (await client.query<Row>(text, values)).rows;
    } finally {
      await client.end();
    }
  }
  await query(`create role ${role} login connection limit ${connectionLimit}`, [], 'postgres');
  await query(`create database ${role} owner ${role}`, [], 'postgres');

  const sharedSecret = randomBytes(20).toString('hex');
  const siteConfigFile = path.join(directory, 'site-config.jsonc');
  await writeFile(siteConfigFile, JSON.stringify({ 'executors.accessToken': sharedSecret }), { mode: 0o600 });
  const host = encodeURIComponent(server.connection.host);
  const env = {
    KILN_DATABASE_URL: `postgres://${role}@/${role}?host=${host}&port=${server.connection.port}`,
    KILN_BLOB_DIR: path.join(directory, 'blobs'),
    KILN_SITE_CONFIG_FILE: siteConfigFile,
    KILN_SECRET_KEY: randomBytes(32).toString('hex'),
    KILN_SHUTDOWN_SECONDS: '5',
  };
  const first = cleanup.use(await startInstance(directory, 'first', env));
  const second = cleanup.use(await startInstance(directory, 'second', env));

  const tenants = ['red', 'green', 'blue', 'probe'];
  await query(`insert into namespaces (name, kind) select unnest($1::text[]), 'organization'`, [tenants]);
  const running = cleanup.move();
  return {
    instances: [first, second],
    adminToken: first.adminToken,
    sharedSecret,
    tenants: tenants.slice(0, -1),
    async killPostgres() {
      const [row] = await query<{ pid: number }>(
        `select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int as pid`,
      );
      if (!row) throw new Error('Postgres does not say its process id.');
      process.kill(row.pid, 'SIGKILL');
    },
    query: (text, values) => query(text, values),
    async errors() {
      const found: string[] = [];
      for await (const file of glob(path.join(directory, '*.log'))) {
        for (const line of (await readFile(file, 'utf8')).split('\n')) {
          if (/"level":"(error|fatal)"/.test(line)) found.push(line.slice(0, 2000));
        }
      }
      for (const instance of [first, second]) {
        if (!instance.running) found.push(instance.error('ended by itself').message);
      }
      return found.slice(0, 20);
    },
    async connectStranger() {
      const client = await connectTo(role, role);
      return { client, [Symbol.asyncDispose]: () => client.end() };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

interface StartedInstance extends ChaosInstance, AsyncDisposable {
  readonly running: boolean;
  error(what: string): Error;
  readonly adminToken: string;
}

async function startInstance(
  directory: string,
  name: string,
  env: NodeJS.ProcessEnv,
): Promise<StartedInstance> {
  const dataDirectory = path.join(directory, name);
  await mkdir(dataDirectory, { mode: 0o700 });
  let starts = 0;
  const launch = (listen?: string): Promise<InstanceProcess> =>
    startInstanceProcess({
      dataDirectory,
      logFile: path.join(directory, `${name}-${++starts}.log`),
      env,
      ...(listen === undefined ? {} : { listen }),
    });
  let instance = await launch();
  const { url, adminToken } = instance;
  return {
    url,
    adminToken,
    get running() {
      return instance.process.running;
    },
    error: (what) => instance.process.error(what),
    async kill() {
      instance.process.kill();
      await instance.process.exited;
    },
    async start() {
      instance = await launch(new URL(url).host);
    },
    [Symbol.asyncDispose]: () => instance[Symbol.asyncDispose](),
  };
}
