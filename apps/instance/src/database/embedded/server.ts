import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import { DatabaseStartError, messageOf } from '../errors.ts';
import { type Cluster, dataArgument, postgresEnvironment, prepareCluster, superuser } from './cluster.ts';
import { heldElsewhere, lockConflictExitCode, lockPath, recordHolder } from './holder.ts';
import { createSocketDirectory, publishSocketDirectory } from './socket-directory.ts';

export interface EmbeddedServerOptions {
  dataDirectory: string;
  /** False only for throw-away data of tests: commits are not forced to the disk. */
  durable: boolean;
  log: Logger;
}

export interface EmbeddedServer extends AsyncDisposable {
  readonly connection: { host: string; port: number; user: string };
}

/** After a crash the old server may need seconds to go, or to replay its log: the start is repeated for this long. */
const startDeadlineMilliseconds = 30_000;
const stopDeadlineMilliseconds = 20_000;
/** Names the socket file only; nothing listens on TCP. */
const port = 5432;

/**
 * Starts Postgres on `<dataDirectory>/postgres`, reachable only through a Unix socket in a directory of mode 0700,
 * and starts it again whenever it dies, until disposed.
 *
 * One data directory, one server: on Linux Postgres is started under `flock` and its processes keep the lock open,
 * so the kernel frees it exactly when the last of them is gone, in whatever container it ran. (Postgres' own check
 * misses a server in another PID and IPC namespace, that is, in another container on the same volume.)
 * @throws DatabaseStartError
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { log } = options;
  const cluster = await prepareCluster(options.dataDirectory, options.durable);
  const socketDirectory = await createSocketDirectory(cluster.user);
  const connection = { host: socketDirectory, port, user: superuser };
  const wrappers = await findWrappers(cluster, log);
  const stopping = new AbortController();
  let child: ChildProcess;
  try {
    child = await startWithin(startDeadlineMilliseconds);
  } catch (error) {
    await publishSocketDirectory(cluster.directory, socketDirectory, 'withdraw');
    throw error;
  }
  await recordHolder(cluster.directory);
  await publishSocketDirectory(cluster.directory, socketDirectory, 'publish');
  const supervision = supervise();
  return {
    connection,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await stopServer(child);
      await supervision;
      await publishSocketDirectory(cluster.directory, socketDirectory, 'withdraw');
    },
  };

  async function supervise(): Promise<void> {
    while (!stopping.signal.aborted) {
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      if (stopping.signal.aborted) return;
      log.error(
        { exitCode: child.exitCode, signal: child.signalCode },
        'the embedded database ended unexpectedly; starting it again',
      );
      try {
        child = await startWithin(startDeadlineMilliseconds);
        log.info('the embedded database is running again');
      } catch (error) {
        if (stopping.signal.aborted) return;
        log.error({ err: error }, 'the embedded database does not start; trying again');
        await sleep(1000, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  }

  async function startWithin(milliseconds: number): Promise<ChildProcess> {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      const attempt = await startOnce(cluster, connection, wrappers, options, deadline, stopping.signal);
      if ('running' in attempt) return attempt.running;
      if (stopping.signal.aborted) throw new DatabaseStartError('The embedded database was stopped.');
      const late = performance.now() >= deadline;
      if (attempt.exitCode === lockConflictExitCode) {
        const holder = await heldElsewhere(cluster.directory);
        if (holder.alive || late) {
          throw new DatabaseStartError(
            `Another instance ${holder.description}is using the data directory ${options.dataDirectory}. Stop it, or give this one another directory with --data.`,
          );
        }
      } else if (late || attempt.lastLines.some((line) => line.includes('contains errors'))) {
        throw new DatabaseStartError(
          `Postgres did not start on ${cluster.postgresData}. Its last messages:\n${attempt.lastLines.join('\n')}`,
        );
      }
      await sleep(100);
    }
  }
}

type Attempt = { running: ChildProcess } | { exitCode: number | null; lastLines: string[] };

async function startOnce(
  cluster: Cluster,
  connection: EmbeddedServer['connection'],
  wrappers: string[],
  { log, durable }: EmbeddedServerOptions,
  deadline: number,
  signal: AbortSignal,
): Promise<Attempt> {
  const [program = '', ...args] = [
    ...wrappers,
    join(cluster.binaries, 'bin', 'postgres'),
    '-D',
    dataArgument(cluster),
    ...serverSettings(connection.host, durable).flatMap((setting) => ['-c', setting]),
  ];
  const child = spawn(program, args, {
    cwd: cluster.postgresData,
    env: postgresEnvironment,
    stdio: ['ignore', 'ignore', 'pipe'],
    // Out of the terminal's process group: Ctrl-C must let the instance finish its work on a living database first.
    detached: true,
    ...(wrappers.length === 0 && cluster.user && { uid: cluster.user.uid, gid: cluster.user.gid }),
  });
  const lastLines: string[] = [];
  let gone = false;
  let ready = false;
  child.once('exit', () => {
    gone = true;
  });
  child.once('error', (error) => {
    gone = true;
    lastLines.push(messageOf(error));
  });
  const lines = child.stderr && createInterface({ input: child.stderr });
  const lastWords = lines && once(lines, 'close').catch(() => undefined);
  lines?.on('line', (line) => {
    lastLines.push(line);
    if (lastLines.length > 20) lastLines.shift();
    // While it starts it says FATAL to everybody who asks whether it is ready.
    const level = ready && /\b(FATAL|PANIC):/.test(line) ? 'warn' : 'debug';
    log[level]({ postgres: line }, 'message of the embedded database');
  });
  while (!gone) {
    ready = await answers(connection);
    if (ready) return { running: child };
    if (performance.now() >= deadline || signal.aborted) {
      await stopServer(child);
      break;
    }
    await sleep(20);
  }
  // Its last words may still be on their way.
  await Promise.race([lastWords, sleep(500)]);
  return { exitCode: child.exitCode, lastLines };
}

function serverSettings(socketDirectory: string, durable: boolean): string[] {
  return [
    'listen_addresses=',
    `port=${port}`,
    `unix_socket_directories=${socketDirectory}`,
    'unix_socket_permissions=0700',
    `fsync=${durable ? 'on' : 'off'}`,
    `synchronous_commit=${durable ? 'on' : 'off'}`,
    'max_connections=300',
    'max_wal_size=2GB',
    'jit=off',
    'random_page_cost=1.1',
    // The queue's tables are small and change all the time: they are cleaned often, in small pieces.
    'autovacuum_naptime=5s',
    // A session that forgot its transaction would hold row locks and stop the cleaning of dead rows.
    'idle_in_transaction_session_timeout=20s',
    // Statement texts may hold what users typed; they do not belong in a log.
    'log_min_error_statement=panic',
    'log_checkpoints=off',
  ];
}

/** Whether the server takes connections. It is ours: the socket directory is new at each start of an instance. */
async function answers(connection: EmbeddedServer['connection']): Promise<boolean> {
  const client = new pg.Client({ ...connection, database: 'postgres', connectionTimeoutMillis: 2000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * What stands before `postgres` in its command line. `setpriv` ties the server to the instance: it is asked to end
 * when the *thread* that started it ends, so servers are started from the main thread only.
 */
async function findWrappers(cluster: Cluster, log: Logger): Promise<string[]> {
  if (process.platform !== 'linux') return [];
  const [flock, setpriv] = await Promise.all([findProgram('flock'), findProgram('setpriv')]);
  if (!flock || !setpriv) {
    log.warn(
      'flock or setpriv (package util-linux) is missing: a crashed instance leaves its database running, and a second instance in another container is not noticed',
    );
    return [];
  }
  const identity = cluster.user
    ? ['--reuid', String(cluster.user.uid), '--regid', String(cluster.user.gid), '--clear-groups']
    : [];
  return [
    flock,
    ...['--no-fork', '--exclusive', '--nonblock', '-E', String(lockConflictExitCode)],
    lockPath(cluster.directory),
    setpriv,
    ...[...identity, '--no-new-privs', '--pdeathsig', 'SIGINT'],
  ];
}

async function findProgram(name: string): Promise<string | undefined> {
  for (const directory of ['/usr/bin', '/bin']) {
    const path = join(directory, name);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}

/** SIGINT: clients are disconnected, data is written, the server ends. SIGQUIT and SIGKILL lose nothing committed either. */
async function stopServer(child: ChildProcess): Promise<void> {
  for (const [signal, milliseconds] of [
    ['SIGINT', stopDeadlineMilliseconds],
    ['SIGQUIT', 5000],
    ['SIGKILL', 5000],
  ] as const) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(milliseconds) });
    child.kill(signal);
    await ended.catch(() => undefined);
  }
}
