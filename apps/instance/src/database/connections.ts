import { setTimeout as sleep } from 'node:timers/promises';
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import type { Logger } from 'pino';
import type { Database, Statement, Transaction } from './database.ts';
import { DatabaseUnavailableError, messageOf, sqlState } from './errors.ts';
import { createListener } from './listener.ts';
import { typeParsers } from './type-parsers.ts';

/** Where the database is: a URL, or the embedded server's socket. */
export type Connection =
  | { connectionString: string }
  | { host: string; port: number; user: string; database: string };

export interface ConnectionOptions {
  connection: Connection;
  log: Logger;
  maxConnections?: number;
}

/** Two cores of Postgres are busy with far fewer; more would only queue inside Postgres, with locks held. */
const defaultMaxConnections = 20;
const statementTimeoutMilliseconds = 30_000;
/** Shorter than a statement's: a row that somebody holds must not stop a whole group of marks for long. */
const lockTimeoutMilliseconds = 5000;
const idleInTransactionTimeoutMilliseconds = 20_000;
const connectTimeoutMilliseconds = 5000;
/** How long a call waits for a database that is restarting before it fails. */
const acquireDeadlineMilliseconds = 20_000;
const maxTries = 10;

/** Opens the pool. Nothing is connected yet: the first statement is. */
export function createDatabase({ connection, log, maxConnections }: ConnectionOptions): Database {
  const pool = new pg.Pool({
    ...connection,
    application_name: 'kiln',
    max: maxConnections ?? defaultMaxConnections,
    idleTimeoutMillis: 60_000,
    connectionTimeoutMillis: connectTimeoutMilliseconds,
    statement_timeout: statementTimeoutMilliseconds,
    lock_timeout: lockTimeoutMilliseconds,
    idle_in_transaction_session_timeout: idleInTransactionTimeoutMilliseconds,
    // The server may be gone without a word (a network that drops packets); then its timeout does not help.
    query_timeout: statementTimeoutMilliseconds + 5000,
    keepAlive: true,
    types: typeParsers,
    onConnect: planForAnyValues,
  });
  // An idle connection that the server closes; the pool drops it by itself.
  pool.on('error', (error) => log.warn({ err: error }, 'an idle database connection was lost'));
  // Without a listener an error between two statements would end the process; the next statement reports it. From the
  // first moment on: the server's farewell may come in one packet with its welcome.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const listener = createListener(connection, log);
  const closing = new AbortController();
  const pooled = new Kysely<unknown>({
    dialect: new PostgresDialect({
      pool: { connect: acquire, end: async () => undefined, options: pool.options },
    }),
  });

  async function acquire(): Promise<pg.PoolClient> {
    const deadline = performance.now() + acquireDeadlineMilliseconds;
    for (let pause = 20; ; pause = Math.min(pause * 2, 500)) {
      try {
        return await pool.connect();
      } catch (error) {
        if (closing.signal.aborted || !isTransient(error) || performance.now() + pause > deadline) {
          throw new DatabaseUnavailableError(`No connection to the database: ${messageOf(error)}`, {
            cause: error,
          });
        }
        await sleep(pause);
      }
    }
  }

  /** A statement or transaction that lost to another one changed nothing, and may well succeed when run again. */
  async function withRetry<Result>(use: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries++) {
      const client = await acquire();
      try {
        return await releaseAfter(client, () => use(client));
      } catch (error) {
        if (!isConflict(error) || tries >= maxTries) throw error;
        await sleep(Math.random() * Math.min(10 * 2 ** tries, 500));
      }
    }
  }

  return {
    kysely: <Tables>() => pooled as Kysely<unknown> as Kysely<Tables>,
    query: (statement, values) => withRetry((client) => run(client, statement, values)),
    transaction: (body) => withRetry((client) => runTransaction(client, body)),
    listen: (channel, onPayload, onGap) => listener.listen(channel, onPayload, onGap),
    async [Symbol.asyncDispose]() {
      closing.abort();
      await listener[Symbol.asyncDispose]();
      await pool.end();
    },
  };
}

/**
 * Statements keep one plan for any values. Left alone, Postgres plans the statements of the queue at each execution,
 * because it takes arrays of unknown length for long ones and so the plan for known values for much cheaper: 2 ms of
 * processor time for claims that take 0.3 ms (measured). A value that the choice of an index depends on, such as a
 * state, belongs in the statement's text.
 */
async function planForAnyValues(client: pg.ClientBase): Promise<void> {
  await client.query('set plan_cache_mode = force_generic_plan');
}

async function run<Row extends pg.QueryResultRow>(
  client: pg.ClientBase,
  statement: Statement | string,
  values?: unknown[],
): Promise<Row[]> {
  const { text, name, timeoutSeconds }: Statement =
    typeof statement === 'string' ? { text: statement } : statement;
  const result = await client.query<Row>({
    text,
    ...(name !== undefined && { name }),
    ...(values && { values }),
    ...(timeoutSeconds !== undefined && { query_timeout: timeoutSeconds * 1000 }),
  });
  return result.rows;
}

async function runTransaction<Result>(
  client: pg.PoolClient,
  body: (transaction: Transaction) => Promise<Result>,
): Promise<Result> {
  await client.query('begin');
  try {
    const result = await body(transactionOn(client));
    await client.query('commit');
    return result;
  } catch (error) {
    // A failed rollback means a broken connection, which releaseAfter throws away; the first error is the one to tell.
    await client.query('rollback').catch(() => broken.add(client));
    throw error;
  }
}

function transactionOn(client: pg.PoolClient): Transaction {
  const borrowed = { query: client.query.bind(client), release: () => undefined };
  return {
    query: (statement, values) => run(client, statement, values),
    kysely: <Tables>() =>
      new Kysely<Tables>({
        dialect: new PostgresDialect({
          pool: { connect: async () => borrowed as pg.PoolClient, end: async () => undefined, options: {} },
        }),
      }),
  };
}

const broken = new WeakSet<pg.ClientBase>();

/** Gives the connection back, or closes it when its state is unknown. */
async function releaseAfter<Result>(client: pg.PoolClient, use: () => Promise<Result>): Promise<Result> {
  let reusable = false;
  try {
    const result = await use();
    reusable = true;
    return result;
  } catch (error) {
    // An error that Postgres reported leaves the session usable, unless it ended the session (classes 57P and 08).
    const state = sqlState(error);
    reusable = state === undefined ? !isConnectionError(error) : !/^(57P|08)/.test(state);
    throw error;
  } finally {
    client.release(!reusable || broken.has(client));
  }
}

/** Errors of `pg` and of the socket carry no SQLSTATE; nor do those that a transaction's own code throws. */
function isConnectionError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string' && /^E[A-Z]+$/.test(error.code)) return true;
  return /connection|timeout/i.test(error.message);
}

/** Serialization failure and deadlock. */
function isConflict(error: unknown): boolean {
  const state = sqlState(error);
  return state === '40001' || state === '40P01';
}

/** Failures to connect that a restart of the server explains. Wrong credentials and the like are not among them. */
function isTransient(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return state.startsWith('57P') || state.startsWith('08') || state === '53300';
  return true;
}
