import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

export type GitChild = ChildProcessByStdio<Writable, Readable, Readable>;

/** What git may be told of the instance's own environment; it inherits nothing else. */
export type GitEnvironment = Readonly<Record<string, string | undefined>>;

/** All that is taken from it: the search path, proxies, certificates of private authorities, the agent of ssh. */
const inheritedNames = ['PATH', 'HTTPS_PROXY', 'NO_PROXY', 'GIT_SSL_CAINFO', 'SSH_AUTH_SOCK'];

export interface GitCommand {
  args: string[];
  /** The one transport that it may use; absent: none. */
  protocol?: 'https' | 'http' | 'ssh' | 'file' | undefined;
  /** Value of `GIT_PROTOCOL`, checked by the caller. */
  gitProtocol?: string | undefined;
}

/** Why a git command did not succeed. `stopped`: by the caller's signal; its reason is the `cause`. */
export class GitError extends Error {
  override readonly name = 'GitError';
  readonly kind: 'failed' | 'timeout' | 'stopped' | 'missing';
  /** Null: it was killed or never started. */
  readonly exitCode: number | null;

  constructor(kind: GitError['kind'], exitCode: number | null, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.exitCode = exitCode;
  }
}

/** Starts git processes: no shell, an environment built from nothing, a process group of their own each. */
export interface Git {
  /**
   * Runs a command to its end. Resolves to its standard output, of which at most 4 MiB may come.
   * @throws GitError; its message ends with what git said, without control characters and credentials
   */
  run(
    command: GitCommand & { input?: string; timeoutSeconds: number; signal?: AbortSignal | undefined },
  ): Promise<string>;
  /** Starts a command whose input and output are streams. The caller ends it, see `killGroup`. */
  start(command: GitCommand): GitChild;
}

const maxOutputBytes = 4 * 1024 ** 2;
const maxErrorBytes = 16 * 1024;
/** Between the polite and the final signal: git removes its lock files on SIGTERM. */
const graceSeconds = 2;

// BatchMode: never ask. StrictHostKeyChecking=yes: an unknown host is refused, not trusted at first sight. The rest
// keeps what ssh's own configuration may switch on for people from being offered to a code host.
const sshCommand = [
  'ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=15 -oServerAliveInterval=15',
  '-oServerAliveCountMax=3 -oForwardAgent=no -oForwardX11=no -oClearAllForwardings=yes -oPermitLocalCommand=no',
].join(' ');

/** `home`: an empty directory of ours with the configuration file `gitconfig`, see `git-config.ts`. */
export function createGit(options: { home: string; configFile: string; environment: GitEnvironment }): Git {
  const inherited = Object.fromEntries(
    inheritedNames.flatMap((name) => {
      const value = options.environment[name];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
  const environment: NodeJS.ProcessEnv = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    ...inherited,
    HOME: options.home,
    XDG_CONFIG_HOME: options.home,
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_SYSTEM: '/dev/null',
    GIT_CONFIG_GLOBAL: options.configFile,
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_SSH_COMMAND: sshCommand,
    GIT_SSH_VARIANT: 'ssh',
  };

  function start(command: GitCommand): GitChild {
    return spawn('git', command.args, {
      cwd: options.home,
      env: {
        ...environment,
        // Beats every protocol setting of any configuration file, and limits redirects too.
        GIT_ALLOW_PROTOCOL: command.protocol ?? 'none',
        ...(command.gitProtocol === undefined ? {} : { GIT_PROTOCOL: command.gitProtocol }),
      },
      // Its own group, so that its helpers (git-remote-https, index-pack, ssh) end with it.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  async function run(command: Parameters<Git['run']>[0]): Promise<string> {
    const what = `git ${subcommandOf(command.args)}`;
    if (command.signal?.aborted) throw stopped(what, command.signal);
    const child = start(command);
    const output = collect(child.stdout, maxOutputBytes);
    const errors = collectTail(child.stderr, maxErrorBytes);
    let cause: 'timeout' | 'stopped' | 'output' | undefined;
    const end = (why: NonNullable<typeof cause>) => {
      cause ??= why;
      void killGroup(child);
    };
    const onAbort = () => end('stopped');
    command.signal?.addEventListener('abort', onAbort, { once: true });
    const timer = setTimeout(() => end('timeout'), command.timeoutSeconds * 1000);
    output.onOverflow = () => end('output');
    // git may end without reading its input; what that means shows in its exit code.
    child.stdin.on('error', () => {});
    child.stdin.end(command.input ?? '');
    try {
      const code = await ended(child);
      if (cause === 'stopped' && command.signal) throw stopped(what, command.signal);
      if (cause === 'timeout') {
        throw new GitError('timeout', code, `${what} took longer than ${command.timeoutSeconds} s`);
      }
      if (cause === 'output') throw new GitError('failed', code, `${what} printed too much`);
      if (code === 0) return output.text();
      const said = cleanGitText(errors());
      throw new GitError('failed', code, said === '' ? `${what} failed` : `${what}: ${said}`);
    } finally {
      clearTimeout(timer);
      command.signal?.removeEventListener('abort', onAbort);
    }
  }

  return { run, start };
}

/** Ends a git process with all its helpers: SIGTERM, and SIGKILL where that did not do. Resolves when it is gone. */
export async function killGroup(child: GitChild): Promise<void> {
  if (child.pid === undefined) return;
  let closed = child.stdout.closed && child.exitCode !== null;
  const done = new AbortController();
  child.once('close', () => {
    closed = true;
    done.abort();
  });
  if (closed) return;
  signalGroup(child.pid, 'SIGTERM');
  await delay(graceSeconds * 1000, undefined, { signal: done.signal, ref: false }).catch(() => {});
  // Without "close" somebody of the group still holds a pipe, so the group's number cannot have been given away.
  if (!closed) signalGroup(child.pid, 'SIGKILL');
}

/**
 * What git or a remote server said, fit to be shown and stored: one short text without escape sequences, progress
 * lines that were overwritten, and passwords in addresses (a redirect may bring one that we never had).
 */
export function cleanGitText(text: string): string {
  const lines = text
    .slice(-maxErrorBytes)
    .split('\n')
    .map((line) => line.slice(line.replace(/\r+$/, '').lastIndexOf('\r') + 1))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are to be removed
    .map((line) => line.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '').replace(/[\p{C}]/gu, ''))
    // The scheme's length is bounded: a long line without an address would take time by the square of its length.
    .map((line) => line.replace(/([a-z0-9+.-]{1,20}:\/\/)[^/\s'"]*@/gi, '$1').trimEnd())
    .filter((line) => line.trim() !== '');
  return lines.join('\n').slice(-2000);
}

function subcommandOf(args: string[]): string {
  const index = args.findIndex((arg, at) => !arg.startsWith('-') && args[at - 1] !== '-c');
  return args[index] ?? '';
}

function stopped(what: string, signal: AbortSignal): GitError {
  return new GitError('stopped', null, `${what} was stopped`, { cause: signal.reason });
}

function ended(child: GitChild): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', (err) => {
      reject(
        new GitError('missing', null, `git cannot be started: ${err.message}`, {
          cause: err,
        }),
      );
    });
    child.once('close', (code) => resolve(code));
  });
}

function signalGroup(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-pid, signal);
  } catch (err) {
    // The last of them ended on its own meanwhile.
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

function collect(stream: Readable, maxBytes: number) {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const collected = {
    onOverflow: () => {},
    text: () => Buffer.concat(chunks).toString('utf8'),
  };
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
    else collected.onOverflow();
  });
  return collected;
}

/** Keeps the end of a stream; reads all of it, so that the writer never waits. */
export function collectTail(stream: Readable, maxBytes: number): () => string {
  let tail: Buffer = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    const all = Buffer.concat([tail, chunk]);
    tail = all.length > maxBytes ? all.subarray(all.length - maxBytes) : all;
  });
  return () => tail.toString('utf8');
}
