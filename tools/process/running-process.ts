import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, type FSWatcher, openSync, readFileSync, watch } from 'node:fs';

export interface StartOptions {
  /** Names it in errors. */
  name: string;
  program: string;
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** Everything it writes goes here, also after this process has ended. Emptied at the start. */
  logFile: string;
  /** It goes on when this process ends. Else it is asked to end then, whatever happened to this process. */
  outlives?: boolean;
}

interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** The process ended, or did not do what was waited for; the message quotes the end of what it wrote. */
export class ProcessError extends Error {
  override readonly name = 'ProcessError';
}

const quotedLines = 15;

/** A program that runs in the background until it is stopped, in a process group of its own: Ctrl-C is for its starter to pass on. */
export class RunningProcess implements AsyncDisposable {
  readonly name: string;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #watcher: FSWatcher;
  readonly #looks = new Set<() => void>();
  #exit: Exit | undefined;

  constructor(options: StartOptions) {
    this.name = options.name;
    this.logFile = options.logFile;
    const log = openSync(options.logFile, 'w', 0o600);
    this.#watcher = watch(options.logFile, () => this.#look());
    try {
      const [program = '', ...args] = [...tie(options), options.program, ...options.args];
      this.#child = spawn(program, args, {
        cwd: options.cwd,
        env: options.env,
        detached: true,
        // A file, not a pipe: the program goes on writing when this process is gone.
        stdio: ['ignore', log, log],
      });
    } finally {
      closeSync(log);
    }
    const { promise, resolve } = Promise.withResolvers<Exit>();
    this.exited = promise;
    const end = (exit: Exit) => {
      this.#exit ??= exit;
      this.#watcher.close();
      this.#look();
      resolve(this.#exit);
    };
    this.#child.on('error', () => end({ code: null, signal: null }));
    this.#child.on('exit', (code, signal) => end({ code, signal }));
  }

  /** @throws ProcessError when it could not be started at all */
  get pid(): number {
    if (this.#child.pid === undefined) throw this.error('could not be started');
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** What it has written so far, both streams. */
  get output(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /**
   * The first match of `pattern` in a line of the output, which may have been written already.
   * @throws ProcessError when it ends first, or after `timeoutSeconds`
   */
  async waitForLine(pattern: RegExp, timeoutSeconds: number, signal?: AbortSignal): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
    const look = () => {
      for (const line of this.output.split('\n')) {
        const match = pattern.exec(line);
        if (match) return resolve(match);
      }
      if (this.#exit) reject(this.error(`ended (${describeExit(this.#exit)}) before it wrote ${pattern}`));
    };
    const timer = setTimeout(
      () => reject(this.error(`did not write ${pattern} within ${timeoutSeconds} s`)),
      timeoutSeconds * 1000,
    );
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted) onAbort();
    this.#looks.add(look);
    look();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      this.#looks.delete(look);
    }
  }

  /** Asks it to end and waits for that; past `graceSeconds` its whole group is killed. */
  async stop(graceSeconds = 30): Promise<Exit> {
    if (this.#exit) return this.#exit;
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.kill(), graceSeconds * 1000);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#exit === undefined) this.#child.kill(signal);
  }

  /** Kills it and what is left in its process group, as `kill -9` would. */
  kill(): void {
    if (this.#exit !== undefined || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, 'SIGKILL');
    } catch (error) {
      if (Reflect.get(Object(error), 'code') !== 'ESRCH') throw error;
    }
  }

  error(what: string): ProcessError {
    const lines = this.output.trimEnd().split('\n').slice(-quotedLines);
    return new ProcessError(
      `${this.name} ${what}; its log, ${this.logFile}, ends with:\n  ${lines.join('\n  ')}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #look(): void {
    for (const look of this.#looks) look();
  }
}

/** `setpriv` (util-linux) has the kernel do it; where that is missing a killed process leaves its programs running. */
function tie({ outlives, env }: StartOptions): string[] {
  if (outlives || process.platform !== 'linux') return [];
  const directories = (env['PATH'] ?? '').split(':');
  const isThere = directories.some((directory) => existsSync(`${directory}/setpriv`));
  return isThere ? ['setpriv', '--pdeathsig=TERM', '--'] : [];
}

function describeExit({ code, signal }: Exit): string {
  if (signal !== null) return `killed by ${signal}`;
  return code === null ? 'could not be started' : `exit code ${code}`;
}
