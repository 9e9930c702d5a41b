import { readdir, readFile, readlink, realpath } from 'node:fs/promises';

/**
 * Finds the network namespace of the daemon that listens on a socket, where it is not this process's own (rootless and
 * private daemons): that is where the bridges of jobs are, so there the rules must be set.
 * @param guess what was found before: looking through all processes takes time on a busy machine
 * @returns `/proc/<pid>/ns/net`; undefined when it is our own, or cannot be found out. Then rules are set in our own,
 *   which fails if the bridge is not there.
 */
export async function daemonNetworkNamespace(
  socketPath: string,
  guess?: string,
): Promise<string | undefined> {
  const own = await linkOf('/proc/self/ns/net');
  const path = await realpath(socketPath).catch(() => socketPath);
  if ((await listeningInode('self', path)) !== undefined) return undefined;
  const guessed = /^\/proc\/(\d+)\/ns\/net$/.exec(guess ?? '')?.[1];
  if (guessed !== undefined) {
    const inode = await listeningInode(guessed, path);
    if (inode !== undefined && (await holdsSocket(guessed, inode))) return guess;
  }
  const processes = new Map<string, string[]>();
  for (const pid of await entries('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const namespace = await linkOf(`/proc/${pid}/ns/net`);
    if (namespace === undefined || namespace === own) continue;
    processes.set(namespace, [...(processes.get(namespace) ?? []), pid]);
  }
  for (const pids of processes.values()) {
    const inode = await listeningInode(pids[0] ?? '', path);
    if (inode === undefined) continue;
    // The daemon itself, since its other processes come and go.
    for (const pid of pids) if (await holdsSocket(pid, inode)) return `/proc/${pid}/ns/net`;
  }
  return undefined;
}

/** `/proc/<pid>/net/unix` lists the sockets of the process's network namespace. */
async function listeningInode(pid: string, socketPath: string): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/net/unix`, 'utf8').catch(() => '');
  for (const line of text.split('\n')) {
    const [, , , flags, , , inode, path] = line.trim().split(/\s+/);
    // 0x10000: it accepts connections.
    if (path === socketPath && flags === '00010000') return inode;
  }
  return undefined;
}

async function holdsSocket(pid: string, inode: string): Promise<boolean> {
  const links = await Promise.all(
    (await entries(`/proc/${pid}/fd`)).map((descriptor) => linkOf(`/proc/${pid}/fd/${descriptor}`)),
  );
  return links.includes(`socket:[${inode}]`);
}

async function entries(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

async function linkOf(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}
