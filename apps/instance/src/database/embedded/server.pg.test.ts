import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../open-database.ts';

const log = pino({ level: 'silent' });

describe('embedded Postgres', () => {
  let outer: string;
  let dataDirectory: string;
  beforeEach(async () => {
    // Neither of them can be passed by the user that runs Postgres when this runs as root, as below /root.
    outer = await mkdtemp(join(tmpdir(), 'kiln-embedded-'));
    await chmod(outer, 0o700);
    dataDirectory = join(outer, 'a long name '.repeat(10).trim(), 'data');
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
  });
  afterEach(() => rm(outer, { recursive: true, force: true }));

  const open = () => openDatabase({ dataDirectory, log, durable: false });
  const postmasterPid = async () =>
    Number(
      (await readFile(join(dataDirectory, 'postgres', 'data', 'postmaster.pid'), 'utf8')).split('\n')[0],
    );

  it('keeps what was committed over a restart, reachable by its owner only', async () => {
    {
      await using database = await open();
      await database.query('create table kept as select 42 as answer');
      const socket = await readlink(join(dataDirectory, 'postgres', 'socket'));
      expect((await stat(socket)).mode & 0o777).toBe(0o700);
      const [settings] = await database.query<{ addresses: string; locale: string; user: number }>(
        `select current_setting('listen_addresses') as addresses, datlocale as locale from pg_database where datname = current_database()`,
      );
      expect(settings).toMatchObject({ addresses: '', locale: 'C.UTF-8' });
      // Root gives it to somebody else.
      expect((await stat(join(dataDirectory, 'postgres', 'data'))).uid === 0).toBe(false);
    }
    await using database = await open();
    expect(await database.query('select answer from kept')).toEqual([{ answer: 42 }]);
  });

  it('forces commits to the disk unless the data is for a test', async () => {
    await using database = await openDatabase({ dataDirectory, log });
    expect(
      await database.query(
        `select current_setting('fsync') as fsync, current_setting('synchronous_commit') as wait`,
      ),
    ).toEqual([{ fsync: 'on', wait: 'on' }]);
  });

  it('is started again when it is killed', async () => {
    await using database = await openDatabase({ dataDirectory, log });
    await database.query('create table kept as select 42 as answer');
    process.kill(await postmasterPid(), 'SIGKILL');
    const started = performance.now();
    await expect
      .poll(() => database.query('select answer from kept').catch(() => undefined), { timeout: 30_000 })
      .toEqual([{ answer: 42 }]);
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('serves one instance', async () => {
    await using _database = await open();
    // Another process holds it: this one could only be told by its number.
    const lock = join(dataDirectory, 'postgres', 'lock');
    const holder = JSON.parse(await readFile(lock, 'utf8'));
    expect(holder.pid).toBe(process.pid);
    await writeFile(lock, JSON.stringify({ ...holder, pid: process.ppid }));
    const started = performance.now();
    await expect(open()).rejects.toThrow(
      /Another instance \(process \d+ on .+\) is using the data directory .+--data/,
    );
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it('ends with an instance that is killed, and leaves nothing in the way of the next', async () => {
    const instance = startInstance(dataDirectory);
    try {
      await once(instance.stdout ?? instance, 'data');
      const pid = await postmasterPid();
      const socket = await readlink(join(dataDirectory, 'postgres', 'socket'));
      await expect(open()).rejects.toThrow(/Another instance/);
      instance.kill('SIGKILL');
      await once(instance, 'exit');
      await using database = await open();
      expect(await database.query('select answer from kept')).toEqual([{ answer: 42 }]);
      expect(await postmasterPid()).not.toBe(pid);
      await expect(stat(socket)).rejects.toThrow(/ENOENT/);
    } finally {
      instance.kill('SIGKILL');
    }
  });

  it('refuses data of another major version', async () => {
    await (await open())[Symbol.asyncDispose]();
    await writeFile(join(dataDirectory, 'postgres', 'data', 'PG_VERSION'), '17\n');
    await expect(open()).rejects.toThrow(/was written by Postgres 17, but this Kiln embeds Postgres 18/);
  });

  it('says why it does not start', async () => {
    await (await open())[Symbol.asyncDispose]();
    const settings = join(dataDirectory, 'postgres', 'data', 'postgresql.conf');
    await writeFile(settings, 'no_such_setting = 1\n', { flag: 'a' });
    await expect(open()).rejects.toThrow(/did not start .*no_such_setting/s);
  });
});

/** Another instance, as a process that can be killed. */
function startInstance(dataDirectory: string): ChildProcess {
  const source = `
    import { openDatabase } from ${JSON.stringify(new URL('../open-database.ts', import.meta.url).href)};
    const log = Object.fromEntries(['debug', 'info', 'warn', 'error'].map((level) => [level, () => undefined]));
    const database = await openDatabase({ dataDirectory: process.argv[1], log });
    await database.query('create table kept as select 42 as answer');
    process.stdout.write('ready');
    setInterval(() => undefined, 1000);`;
  return spawn(process.execPath, ['--input-type=module', '--eval', source, dataDirectory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
