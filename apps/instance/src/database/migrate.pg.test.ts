import { createHash } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestDatabase, type TestDatabase } from '../../../../test/kit/database.ts';
import { createDatabase } from './connections.ts';
import { type Migration, migrate, readMigrations } from './migrate.ts';

const log = pino({ level: 'silent' });

describe('migrate', () => {
  let test: TestDatabase;
  beforeEach(async () => {
    test = await startTestDatabase({ migrated: false });
  });
  afterEach(() => test[Symbol.asyncDispose]());

  const first = migration(1, 'create table one (id int)');
  const second = migration(2, 'alter table one add column name text');
  const apply = (migrations: Migration[], version = '1.2.3') =>
    migrate({ database: test.database, log, version, migrations });
  const applied = async () =>
    (
      await test.database.query<{ version: number }>('select version from schema_migrations order by version')
    ).map((row) => row.version);

  it('runs what is new, once', async () => {
    await apply([first]);
    await apply([first]);
    await apply([first, second]);
    expect(await applied()).toEqual([1, 2]);
    await test.database.query('select id, name from one');
  });

  it('takes turns with other instances', async () => {
    await using other = createDatabase({ connection: test.connection, log });
    await Promise.all([
      apply([first, second]),
      migrate({ database: other, log, version: '1.2.3', migrations: [first, second] }),
    ]);
    expect(await applied()).toEqual([1, 2]);
  });

  it('leaves nothing of a change that fails, and names it', async () => {
    const broken = migration(2, 'create table two (id int); select no_such_function()');
    await expect(apply([first, broken])).rejects.toThrow(/0002_test failed: .*no_such_function/);
    expect(await applied()).toEqual([1]);
    await expect(test.database.query('select from two')).rejects.toThrow(/does not exist/);
  });

  it('refuses a file that was changed after it ran', async () => {
    await apply([first]);
    await expect(apply([migration(1, 'create table other (id int)')])).rejects.toThrow(/another content/);
  });

  it('works on a schema of the next minor version, and refuses one beyond', async () => {
    await apply([first, second], '1.3.0');
    await apply([first], '1.2.9');
    await expect(apply([first], '1.1.0')).rejects.toThrow(
      /Kiln 1\.3\.0 \(change 0002_test\), too new for this Kiln 1\.1\.0/,
    );
    await expect(apply([first], '0.9.0')).rejects.toThrow(/too new/);
  });

  it('has files with numbers in a row', async () => {
    const migrations = await readMigrations();
    expect(migrations.map(({ version }) => version)).toEqual(migrations.map((_, index) => index + 1));
  });
});

function migration(version: number, text: string): Migration {
  const checksum = createHash('sha256').update(text).digest('hex');
  return { version, name: `${String(version).padStart(4, '0')}_test`, checksum, text };
}
