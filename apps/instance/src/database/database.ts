import type { Kysely } from 'kysely';
import type pg from 'pg';

/** A statement, mostly from a `.sql` file of its room (`loadStatements`). */
export interface Statement {
  /** Makes it a prepared statement; unique in the program. */
  name?: string;
  text: string;
  /** How long the client waits for the answer, where that differs from the pool's 35 s; the server has its own timeout. */
  timeoutSeconds?: number;
}

/** What runs statements: the pool, or one transaction. */
export interface Executable {
  query<Row extends pg.QueryResultRow>(statement: Statement | string, values?: unknown[]): Promise<Row[]>;
}

export interface Transaction extends Executable {
  /** The transaction for typed CRUD; `Tables` are those of the caller's own room. */
  kysely<Tables>(): Kysely<Tables>;
}

/** The one way to Postgres for all rooms. Its clock is the only clock of the queue. */
export interface Database extends Executable, AsyncDisposable {
  kysely<Tables>(): Kysely<Tables>;
  /** Commits when `run` resolves, rolls back when it throws; serialization failures and deadlocks are tried again. */
  transaction<Result>(run: (transaction: Transaction) => Promise<Result>): Promise<Result>;
  /**
   * Calls `onPayload` for each `NOTIFY` on the channel, on a connection of its own. After a lost connection it
   * reconnects and calls `onGap`, because notifications may have been missed: the listener reads the state again.
   */
  listen(channel: string, onPayload: (payload: string) => void, onGap: () => void): Promise<AsyncDisposable>;
}
