import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { askEngine } from './engine-call.ts';

const run = promisify(execFile);

export interface Dockerd extends AsyncDisposable {
  socketPath: string;
  /** Path of the network namespace of a daemon that was started here; undefined: a daemon that was there. */
  networkNamespace: string | undefined;
  /** Process number of a daemon that was started here. */
  pid: number | undefined;
  /** Ends what was started here and removes its state; leaves a daemon that was there alone. */
  stop(): Promise<void>;
}

export interface DockerdOptions {
  /** Data, socket and log of the daemon go below it; on a real file system, at most 80 characters long. */
  stateDirectory: string;
  log(line: string): void;
  /** `DOCKER_HOST` */
  dockerHost?: string | undefined;
  /** A daemon that is started goes on when this process ends; else it ends with it, whatever happens. */
  outlives?: boolean;
}

const startSeconds = 30;
const stopSeconds = 20;
const defaultSocket = '/var/run/docker.sock';

/** The machine's Docker daemon where one answers, else a private one. */
export async function ensureDockerd(options: DockerdOptions): Promise<Dockerd> {
  const socketPath = options.dockerHost?.replace(/^unix:\/\//, '') || defaultSocket;
  if (await answers(socketPath)) {
    options.log(`using the Docker daemon on ${socketPath}`);
    const stop = async (): Promise<void> => undefined;
    return { socketPath, networkNamespace: undefined, pid: undefined, stop, [Symbol.asyncDispose]: stop };
  }
  options.log('no Docker daemon answers: starting a private one');
  return startDockerd(options);
}

/**
 * Starts a Docker daemon of its own, beside any other: own socket, data and network namespace. In the namespace it may manage
 * its firewall as it likes, its containers reach nothing outside this machine, and all of it vanishes with the daemon.
 * Needs root and the packages docker.io and busybox-static.
 */
export async function startDockerd(options: DockerdOptions): Promise<Dockerd> {
  const { stateDirectory } = options;
  await mkdir(stateDirectory, { recursive: true, mode: 0o711 });
  const path = (name: string): string => join(stateDirectory, name);
  const socketPath = path('docker.sock');
  await writeFile(path('daemon.json'), '{}');
  await rm(path('docker.pid'), { force: true });
  const log = openSync(path('dockerd.log'), 'a', 0o600);
  const daemon = spawn(
    'setpriv',
    [
      `--pdeathsig=${options.outlives ? 'clear' : 'TERM'}`,
      '--',
      'unshare',
      '--net',
      '--',
      '/bin/sh',
      '-c',
      'busybox ip link set lo up && exec dockerd "$@"',
      'dockerd',
      '--config-file',
      path('daemon.json'),
      '--host',
      `unix://${socketPath}`,
      '--pidfile',
      path('docker.pid'),
      '--data-root',
      path('data'),
      '--exec-root',
      path('exec'),
      // Jobs get networks of their own; these need iptables, the default bridge is used by nothing.
      '--bridge=none',
      '--iptables=true',
      '--userland-proxy=false',
      '--shutdown-timeout=1',
    ],
    // detached: an interrupt typed at a terminal must not end the daemon before its containers are cleaned up.
    { stdio: ['ignore', log, log], detached: true, env: { PATH: searchPath, HOME: stateDirectory } },
  );
  closeSync(log);
  const exited = Promise.withResolvers<void>();
  daemon.on('error', () => exited.resolve());
  daemon.on('exit', () => exited.resolve());
  const { pid } = daemon;
  const stop = async (): Promise<void> => {
    await stopDaemon(daemon, exited.promise, stateDirectory);
  };
  for (const begin = performance.now(); !(await answers(socketPath)); await wait(25)) {
    const hasEnded = daemon.exitCode !== null || daemon.signalCode !== null || pid === undefined;
    if (!hasEnded && performance.now() - begin < startSeconds * 1000) continue;
    const last = await readFile(path('dockerd.log'), 'utf8').catch(() => '');
    await stop();
    throw new Error(
      `the Docker daemon did not start (needs root, and the packages docker.io, iptables and busybox-static): ${last.trim().split('\n').slice(-3).join(' | ')}`,
    );
  }
  return {
    socketPath,
    networkNamespace: `/proc/${pid}/ns/net`,
    pid,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** The daemon's helpers live in sbin, which an unprivileged PATH lacks. */
const searchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

async function stopDaemon(
  daemon: ChildProcess,
  exited: Promise<void>,
  stateDirectory: string,
): Promise<void> {
  if (daemon.exitCode === null && daemon.signalCode === null && daemon.pid !== undefined) {
    daemon.kill('SIGTERM');
    const timer = setTimeout(() => daemon.kill('SIGKILL'), stopSeconds * 1000);
    await exited;
    clearTimeout(timer);
  }
  await removeState(stateDirectory);
}

/** A daemon that was killed leaves its mounts; containers that were killed hold theirs a moment longer. */
async function removeState(stateDirectory: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      for (const mount of await mountsBelow(stateDirectory))
        await run('umount', ['--lazy', '--no-canonicalize', mount], { timeout: 10_000 });
      await rm(stateDirectory, { recursive: true, force: true });
      return;
    } catch (error) {
      if (attempt === 50) throw error;
      await wait(100);
    }
  }
}

/** Innermost first. */
async function mountsBelow(directory: string): Promise<string[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  return text
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${directory}/`))
    .sort((left, right) => right.length - left.length);
}

async function answers(socketPath: string): Promise<boolean> {
  try {
    return (await askEngine(socketPath, { method: 'GET', path: '/_ping' })).status === 200;
  } catch {
    return false;
  }
}
