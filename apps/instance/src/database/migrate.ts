import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { kilnVersion } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database, Transaction } from './database.ts';
import { DatabaseStartError, messageOf } from './errors.ts';

export interface Migration {
  version: number;
  name: string;
  checksum: string;
  text: string;
}

export interface MigrateOptions {
  database: Database;
  log: Logger;
  /** Version of this program; other values are for tests. */
  version?: string;
  migrations?: Migration[];
}

interface AppliedMigration {
  version: number;
  name: string;
  checksum: string;
  kilnVersion: string;
}

/** Key of the lock that lets one instance at a time change the schema. */
const migrationLock = 5_746_351;
const schemaChangeDeadlineSeconds = 900;
const lockDeadlineMilliseconds = 120_000;

/**
 * Brings the schema to the newest version, forward only: each file of `migrations/` that is not recorded yet runs in
 * a transaction of its own, in the order of the numbers. Several instances may start at once.
 *
 * Schema changes expand first and contract a release later, so an instance works on a schema of the next minor
 * version (a rolling update) and refuses one beyond that.
 * @throws DatabaseStartError when the schema is too new, or an applied file was changed
 */
export async function migrate({
  database,
  log,
  version = kilnVersion,
  migrations,
}: MigrateOptions): Promise<void> {
  const known = migrations ?? (await readMigrations());
  await createLedger(database);
  const deadline = performance.now() + lockDeadlineMilliseconds;
  for (;;) {
    const step = await database.transaction((transaction) => applyNext(transaction, known, version));
    if (step === 'done') return;
    if (step === 'locked') {
      if (performance.now() > deadline) {
        throw new DatabaseStartError(
          `Another instance has been changing the database's schema for ${lockDeadlineMilliseconds / 1000} s. Look for it, or for a hanging session (pg_locks, advisory lock ${migrationLock}).`,
        );
      }
      await sleep(100);
      continue;
    }
    log.info({ migration: step.name }, 'schema changed');
  }
}

/** The files of `migrations/`, by number. */
export async function readMigrations(): Promise<Migration[]> {
  const folder = new URL('./migrations/', import.meta.url);
  const migrations: Migration[] = [];
  for (const file of (await readdir(folder)).sort()) {
    const [, number, name] = /^(\d{4})_([a-z0-9_]+)\.sql$/.exec(file) ?? [];
    if (number === undefined || name === undefined) continue;
    const text = (await readFile(new URL(file, folder), 'utf8')).replaceAll('\r\n', '\n');
    const checksum = createHash('sha256').update(text).digest('hex');
    migrations.push({ version: Number(number), name: `${number}_${name}`, checksum, text });
  }
  for (const [index, { version, name }] of migrations.entries()) {
    if (migrations[index - 1]?.version === version) {
      throw new DatabaseStartError(
        `Two migrations have the number of ${name}; give one of them the next free number.`,
      );
    }
  }
  return migrations;
}

async function createLedger(database: Database): Promise<void> {
  // `if not exists` alone fails when two sessions create the table at once, hence the lock.
  await database.transaction(async (transaction) => {
    await transaction.query(`select pg_advisory_xact_lock(${migrationLock})`);
    await transaction.query(`
      create table if not exists schema_migrations (
        version int primary key,
        name text not null,
        checksum text not null,
        kiln_version text not null,
        applied_at timestamptz not null default now()
      )`);
  });
}

async function applyNext(
  transaction: Transaction,
  known: Migration[],
  version: string,
): Promise<'done' | 'locked' | Migration> {
  const [lock] = await transaction.query<{ held: boolean }>(
    `select pg_try_advisory_xact_lock(${migrationLock}) as held`,
  );
  if (!lock?.held) return 'locked';
  const applied = await transaction.query<AppliedMigration>(
    'select version, name, checksum, kiln_version as "kilnVersion" from schema_migrations order by version',
  );
  checkApplied(applied, known, version);
  const next = known.find((migration) => !applied.some((other) => other.version === migration.version));
  if (!next) return 'done';
  await transaction.query(`set local statement_timeout = '${schemaChangeDeadlineSeconds}s'`);
  try {
    await transaction.query({ text: next.text, timeoutSeconds: schemaChangeDeadlineSeconds + 5 });
  } catch (cause) {
    throw new DatabaseStartError(`The schema change ${next.name} failed: ${messageOf(cause)}`, { cause });
  }
  await transaction.query(
    'insert into schema_migrations (version, name, checksum, kiln_version) values ($1, $2, $3, $4)',
    [next.version, next.name, next.checksum, version],
  );
  return next;
}

function checkApplied(applied: AppliedMigration[], known: Migration[], version: string): void {
  for (const row of applied) {
    const mine = known.find((migration) => migration.version === row.version);
    if (mine && mine.checksum !== row.checksum) {
      throw new DatabaseStartError(
        `The schema change ${row.name} was applied with another content than ${mine.name} has now. Applied changes are never edited: restore the file, and put the difference in a new one.`,
      );
    }
    if (!mine && isBeyondNextMinor(row.kilnVersion, version)) {
      throw new DatabaseStartError(
        `The database's schema is of Kiln ${row.kilnVersion} (change ${row.name}), too new for this Kiln ${version}. Run a newer Kiln.`,
      );
    }
  }
}

function isBeyondNextMinor(other: string, own: string): boolean {
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number);
  const [ownMajor = 0, ownMinor = 0] = own.split('.').map(Number);
  return otherMajor !== ownMajor ? otherMajor > ownMajor : otherMinor > ownMinor + 1;
}
