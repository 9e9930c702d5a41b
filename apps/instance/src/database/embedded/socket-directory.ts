import { chown, mkdtemp, readlink, rename, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { DatabaseStartError, messageOf } from '../errors.ts';
import type { OperatingUser } from './operating-user.ts';

const prefix = 'kiln-pg-';
/** What the kernel allows for the path of a Unix socket, and what Postgres names the socket in the directory. */
const maxSocketPathBytes = 107;
const socketName = '/.s.PGSQL.5432';

/**
 * A new directory for the database's socket, mode 0700, owned by the user that runs Postgres. It is not below the
 * data directory, whose path may be too long for a socket or unreachable for that user.
 * @throws DatabaseStartError
 */
export async function createSocketDirectory(user: OperatingUser | undefined): Promise<string> {
  const failures: string[] = [];
  for (const parent of user ? ['/run', tmpdir(), '/tmp'] : [tmpdir(), '/tmp']) {
    const path = join(parent, prefix);
    if (Buffer.byteLength(`${path}XXXXXX${socketName}`) > maxSocketPathBytes) {
      failures.push(`${parent}: longer than the ${maxSocketPathBytes} bytes that a socket's path may have`);
      continue;
    }
    try {
      const directory = await mkdtemp(path);
      if (user) await chown(directory, user.uid, user.gid);
      return directory;
    } catch (error) {
      failures.push(`${parent}: ${messageOf(error)}`);
    }
  }
  throw new DatabaseStartError(
    `No directory for the database's socket could be made:\n${failures.join('\n')}\nSet TMPDIR to a short, writable directory.`,
  );
}

/**
 * `<data directory>/postgres/socket` links to the socket directory while the server runs, for the administrator's
 * own tools. Publishing removes the directory that an instance left behind when it was killed.
 */
export async function publishSocketDirectory(
  clusterDirectory: string,
  socketDirectory: string,
  action: 'publish' | 'withdraw',
): Promise<void> {
  const link = join(clusterDirectory, 'socket');
  const previous = await readlink(link).catch(() => undefined);
  if (action === 'withdraw') {
    if (previous === socketDirectory) await rm(link, { force: true });
    await rm(socketDirectory, { recursive: true, force: true });
    return;
  }
  if (previous !== undefined && previous !== socketDirectory && basename(previous).startsWith(prefix)) {
    await rm(previous, { recursive: true, force: true });
  }
  const staging = `${link}.${process.pid}`;
  await rm(staging, { force: true });
  await symlink(socketDirectory, staging);
  await rename(staging, link);
}
