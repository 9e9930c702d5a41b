import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Database } from './database/index.ts';
import { SettingsError } from './env.ts';

/** @returns the absolute path of the data directory, which is made when it is missing */
export async function makeDataDirectory(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return realpath(directory);
}

/** What tells the data directory from others, wherever it is: made at its first start. @returns a UUID */
export function dataDirectoryId(directory: string): Promise<string> {
  return idOf(directory);
}

const lockHeldExitCode = 75;
const lockDeadlineMs = 10_000;

/**
 * Makes sure that no other instance uses the data directory, until disposed. Only for an instance on an external
 * database: the embedded one has a lock of its own. The kernel holds the lock for a child process that ends when this
 * process does, however it ends.
 * @throws SettingsError when another instance has it
 */
export async function lockDataDirectory(directory: string, log: Logger): Promise<AsyncDisposable> {
  const args = ['--no-fork', '--exclusive', '--nonblock', '--conflict-exit-code', String(lockHeldExitCode)];
  const holder = spawn('/usr/bin/flock', [...args, join(directory, 'lock'), 'cat'], {
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['pipe', 'pipe', 'ignore'],
    // Out of the terminal's process group: Ctrl-C must not free the lock before the instance has stopped.
    detached: true,
  });
  const outcome = await lockOutcome(holder);
  if (outcome === 'held elsewhere') {
    throw new SettingsError(
      `KILN_DATA_DIR: another instance is using the data directory ${directory}; stop it, or give this one another directory`,
    );
  }
  if (outcome !== 'locked') {
    log.warn(
      { reason: outcome },
      'the data directory cannot be locked (flock of util-linux is needed): a second instance on it would not be noticed',
    );
  }
  holder.unref();
  return {
    async [Symbol.asyncDispose]() {
      if (holder.exitCode !== null || holder.signalCode !== null || holder.pid === undefined) return;
      const ended = once(holder, 'exit');
      holder.ref();
      holder.stdin?.end();
      await ended;
    },
  };
}

/** `cat` echoes what it is sent, which proves that it runs, and so that `flock` has the lock. */
async function lockOutcome(holder: ChildProcess): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(resolve, lockDeadlineMs, 'no answer');
  holder.once('error', (error) => resolve(error.message));
  holder.once('exit', (code) => resolve(code === lockHeldExitCode ? 'held elsewhere' : `exit code ${code}`));
  holder.stdin?.on('error', () => undefined);
  holder.stdout?.once('data', () => resolve('locked'));
  holder.stdin?.write('\n');
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Makes sure that this database's blobs are the ones in this directory: with another directory, logs and files of its
 * jobs would be missing here, and new ones there.
 * @throws SettingsError for the blobs of another database, or another instance of the same one
 */
export async function claimBlobDirectory(database: Database, directory: string): Promise<void> {
  const id = await idOf(directory);
  await database.query('insert into blob_directory (id) values ($1) on conflict do nothing', [id]);
  const [row] = await database.query<{ id: string }>('select id from blob_directory');
  if (row?.id === id) return;
  throw new SettingsError(
    `KILN_BLOB_DIR: the database keeps its logs and files in another directory (its file "id" says ${row?.id}; ${join(directory, 'id')} says ${id}). ` +
      'Start the instance with that directory: with KILN_DATA_DIR when it is the only instance, with KILN_BLOB_DIR when several share it. ' +
      'If it is lost, "delete from blob_directory" in the database makes this directory the one; logs and files of earlier jobs are gone then.',
  );
}

async function idOf(directory: string): Promise<string> {
  const path = join(directory, 'id');
  await writeUnlessThere(path, `${randomUUID()}\n`);
  return (await readFile(path, 'utf8')).trim();
}

async function writeUnlessThere(path: string, text: string): Promise<void> {
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.writeFile(text);
    await file.sync();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}
