import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseStartError } from '../errors.ts';

/** The user that Postgres runs as; undefined: the user that runs the instance. */
export interface OperatingUser {
  uid: number;
  gid: number;
}

/**
 * Postgres refuses to run as root, so root gives it another user: the owner of existing data, else a system user
 * `kiln` where the administrator made one, else `nobody`. Other users keep their own identity.
 */
export async function chooseOperatingUser(postgresData: string): Promise<OperatingUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = await stat(postgresData).catch(() => undefined);
  if (existing && existing.uid !== 0) return { uid: existing.uid, gid: existing.gid };
  const users = await readUsers();
  const user = users.get('kiln') ?? users.get('nobody');
  if (!user) {
    throw new DatabaseStartError(
      'Postgres cannot run as root, and this machine has neither a user `kiln` nor `nobody`. Create one (useradd --system kiln).',
    );
  }
  return user;
}

/** Whether the user may pass through every directory above `path`. */
export async function canReach(path: string, user: OperatingUser): Promise<boolean> {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    const { mode, uid, gid } = await stat(directory);
    const searchable = uid === user.uid ? mode & 0o100 : gid === user.gid ? mode & 0o010 : mode & 0o001;
    if (!searchable) return false;
    if (directory === dirname(directory)) return true;
  }
}

async function readUsers(): Promise<Map<string, OperatingUser>> {
  const users = new Map<string, OperatingUser>();
  for (const line of (await readFile('/etc/passwd', 'utf8')).split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if (name && uid && gid) users.set(name, { uid: Number(uid), gid: Number(gid) });
  }
  return users;
}
