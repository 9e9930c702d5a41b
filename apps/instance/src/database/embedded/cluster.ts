import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { DatabaseStartError } from '../errors.ts';
import { embeddedPostgresMajor, installBinaries } from './binaries.ts';
import { canReach, chooseOperatingUser, type OperatingUser } from './operating-user.ts';

/** A Postgres data directory ready to be served. */
export interface Cluster {
  /** `<data directory>/postgres`: everything of the embedded database. */
  directory: string;
  /** Where Postgres keeps its files; owned by `user`. */
  postgresData: string;
  /** With `bin/postgres`. */
  binaries: string;
  user: OperatingUser | undefined;
}

export const superuser = 'kiln';
const initDeadlineMilliseconds = 120_000;

/**
 * Creates `<dataDirectory>/postgres` at the first start and checks it at later ones.
 * `durable: false` is for throw-away data of tests: nothing is forced to the disk.
 * @throws DatabaseStartError
 */
export async function prepareCluster(dataDirectory: string, durable: boolean): Promise<Cluster> {
  const directory = join(resolve(dataDirectory), 'postgres');
  await mkdir(directory, { recursive: true, mode: 0o711 });
  const postgresData = join(directory, 'data');
  const user = await chooseOperatingUser(postgresData);
  const binaries = await installBinaries(directory);
  if (user && !(await canReach(join(binaries, 'bin', 'postgres'), user))) {
    throw new DatabaseStartError(
      `User ${user.uid}, which runs Postgres, cannot reach ${binaries}. Make its parent directories searchable (chmod o+x), or use your own Postgres with KILN_DATABASE_URL.`,
    );
  }
  const cluster: Cluster = { directory, postgresData, binaries, user };
  if (!(await exists(postgresData))) await initialise(cluster, durable);
  await checkMajor(postgresData);
  return cluster;
}

/**
 * How Postgres is told where its data is. With a user of its own it may be unable to pass through the directories
 * above (a checkout in /root): it is started *in* the data directory instead, which needs no search permission on
 * the way, and finds it by this name, in each of its processes.
 */
export function dataArgument(cluster: Pick<Cluster, 'postgresData' | 'user'>): string {
  return cluster.user && process.platform === 'linux' ? '/proc/self/cwd' : cluster.postgresData;
}

/** Built beside its place and renamed, so that an interrupted first start leaves nothing half made. */
async function initialise(cluster: Cluster, durable: boolean): Promise<void> {
  await removeStaging(cluster.directory);
  const staging = join(cluster.directory, `data.${randomBytes(6).toString('hex')}.tmp`);
  await mkdir(staging, { mode: 0o700 });
  if (cluster.user) await chown(staging, cluster.user.uid, cluster.user.gid);
  const options = ['-U', superuser, '-A', 'trust', '-E', 'UTF8', '--no-instructions'];
  const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  try {
    await promisify(execFile)(
      join(cluster.binaries, 'bin', 'initdb'),
      [
        '-D',
        dataArgument({ postgresData: staging, user: cluster.user }),
        ...options,
        ...locale,
        ...(durable ? [] : ['--no-sync']),
      ],
      {
        cwd: staging,
        env: postgresEnvironment,
        timeout: initDeadlineMilliseconds,
        ...(cluster.user && { uid: cluster.user.uid, gid: cluster.user.gid }),
      },
    );
  } catch (cause) {
    await rm(staging, { recursive: true, force: true });
    const detail = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : String(cause);
    throw new DatabaseStartError(`Postgres could not create its data in ${cluster.directory}: ${detail}`, {
      cause,
    });
  }
  await chmod(staging, 0o700);
  try {
    await rename(staging, cluster.postgresData);
  } catch (error) {
    // Two first starts at once: the other one's data stands, and the lock decides who serves it.
    await rm(staging, { recursive: true, force: true });
    if (!(await exists(cluster.postgresData))) throw error;
  }
}

/** Postgres reads many PG* variables; none of the instance's may reach it. */
export const postgresEnvironment = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

async function removeStaging(directory: string): Promise<void> {
  const longAgo = Date.now() - 2 * initDeadlineMilliseconds;
  for (const name of await readdir(directory)) {
    if (!/^data\.[0-9a-f]{12}\.tmp$/.test(name)) continue;
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined);
    // A younger one may belong to another first start that is still running.
    if (found && found.mtimeMs < longAgo) await rm(path, { recursive: true, force: true });
  }
}

async function checkMajor(postgresData: string): Promise<void> {
  const found = (await readFile(join(postgresData, 'PG_VERSION'), 'utf8').catch(() => 'unknown')).trim();
  if (found === String(embeddedPostgresMajor)) return;
  throw new DatabaseStartError(
    `${postgresData} was written by Postgres ${found}, but this Kiln embeds Postgres ${embeddedPostgresMajor}. ` +
      'Start the Kiln version that wrote it and move the data, or choose another data directory.',
  );
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
