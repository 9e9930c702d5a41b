import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';
import { createDatabase } from './connections.ts';
import { openDatabase } from './open-database.ts';

const log = pino({ level: 'silent' });

describe('database', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await startTestDatabase();
    await test.database.query('create table counters (id int primary key, value int not null)');
  });
  afterAll(() => test[Symbol.asyncDispose]());

  it('runs statements and turns 64-bit integers into numbers', async () => {
    expect(await test.database.query('select $1::bigint as id', [42])).toEqual([{ id: 42 }]);
    await expect(test.database.query('select 9007199254740993::bigint')).rejects.toThrow(/no safe integer/);
    expect(await test.database.query('select 1 as still_usable')).toEqual([{ still_usable: 1 }]);
  });

  it('offers a query builder, also inside a transaction', async () => {
    interface Tables {
      counters: { id: number; value: number };
    }
    await test.database.transaction(async (transaction) => {
      await transaction.kysely<Tables>().insertInto('counters').values({ id: 100, value: 1 }).execute();
      expect(await test.database.kysely<Tables>().selectFrom('counters').selectAll().execute()).toEqual([]);
    });
    expect(await test.database.kysely<Tables>().selectFrom('counters').selectAll().execute()).toEqual([
      { id: 100, value: 1 },
    ]);
    await test.database.kysely<Tables>().deleteFrom('counters').execute();
  });

  it('rolls back what throws, and tells the error', async () => {
    await expect(
      test.database.transaction(async (transaction) => {
        await transaction.query('insert into counters values (1, 1)');
        throw new Error('changed my mind');
      }),
    ).rejects.toThrow('changed my mind');
    expect(await test.database.query('select from counters')).toEqual([]);
  });

  it('runs a transaction again after a deadlock', async () => {
    await test.database.query('insert into counters values (1, 0), (2, 0)');
    let runs = 0;
    const bothHoldOne = barrier(2);
    const add = (ids: number[]) =>
      test.database.transaction(async (transaction) => {
        runs++;
        for (const [index, id] of ids.entries()) {
          await transaction.query('update counters set value = value + 1 where id = $1', [id]);
          if (index === 0) await bothHoldOne();
        }
      });
    await Promise.all([add([1, 2]), add([2, 1])]);
    expect(runs).toBe(3);
    expect(await test.database.query('select value from counters')).toEqual([{ value: 2 }, { value: 2 }]);
  });

  it('fails a statement that waits too long for a lock, and keeps the connection', async () => {
    await test.database.query('insert into counters values (3, 0)');
    const held = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const holder = test.database.transaction(async (transaction) => {
      await transaction.query('select from counters where id = 3 for update');
      held.resolve();
      await release.promise;
    });
    await held.promise;
    await expect(test.database.query('update counters set value = 1 where id = 3')).rejects.toThrow(
      /lock timeout/,
    );
    release.resolve();
    await holder;
  });

  it('hears notifications, and tells of a gap after the connection was lost', async () => {
    const heard: string[] = [];
    const gap = Promise.withResolvers<void>();
    await using _listening = await test.database.listen(
      'news',
      (payload) => heard.push(payload),
      gap.resolve,
    );
    await test.database.query(`select pg_notify('news', 'one')`);
    await expect.poll(() => heard).toEqual(['one']);
    await test.database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where application_name = 'kiln listener' and datname = current_database()`,
    );
    await gap.promise;
    await test.database.query(`select pg_notify('news', 'two')`);
    await expect.poll(() => heard).toEqual(['one', 'two']);
  });

  it('keeps channels apart, and stops listening when asked', async () => {
    const heard: string[] = [];
    const note = (payload: string) => heard.push(payload);
    await using _first = await test.database.listen('first channel', note, () => undefined);
    const second = await test.database.listen('second', note, () => undefined);
    await second[Symbol.asyncDispose]();
    await test.database.query(`select pg_notify('second', 'lost')`);
    await test.database.query(`select pg_notify('first channel', 'kept')`);
    await expect.poll(() => heard).toEqual(['kept']);
  });

  it('survives the end of all its connections', async () => {
    await Promise.all(Array.from({ length: 10 }, () => test.database.query('select pg_sleep(0.01)')));
    await using other = createDatabase({ connection: test.connection, log });
    await other.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
    );
    await expect
      .poll(() => test.database.query('select 1 as one').catch(() => undefined), { timeout: 10_000 })
      .toEqual([{ one: 1 }]);
  });

  it('opens an own Postgres by its URL, and says what is wrong with one', async () => {
    await using opened = await openDatabase({ dataDirectory: '/nonexistent', databaseURL: test.url, log });
    expect(await opened.query('select current_database() as name')).toEqual([
      { name: test.connection.database },
    ]);
    await expect(
      openDatabase({ dataDirectory: '/nonexistent', databaseURL: 'mysql://x', log }),
    ).rejects.toThrow(/must start with postgres/);
    const wrong = test.url
      .replace(test.connection.database, 'no_such_database')
      .replace('kiln@', 'kiln:hidden@');
    const error = await openDatabase({ dataDirectory: '/nonexistent', databaseURL: wrong, log }).catch(
      (reason: unknown) => reason,
    );
    expect(String(error)).toMatch(/KILN_DATABASE_URL cannot be used: .*no_such_database/);
    expect(String(error)).not.toContain('hidden');
  });
});

/** Resolves for everybody when `count` have come; later ones pass. */
function barrier(count: number): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let arrived = 0;
  return () => {
    if (++arrived === count) resolve();
    return promise;
  };
}
