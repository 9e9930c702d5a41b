import { spawn } from 'node:child_process';

const seconds = 60;
const keptBytes = 4000;

/** A program of this machine failed; the message names it and quotes what it said last. */
export class HostCommandError extends Error {
  override readonly name = 'HostCommandError';
  readonly missing: boolean;
  constructor(message: string, missing = false) {
    super(message);
    this.missing = missing;
  }
}

export interface HostCommandOptions {
  /** What the program reads. */
  input?: string;
  signal?: AbortSignal;
  /** Path of the network namespace to act in; undefined: this process's own. */
  networkNamespace?: string | undefined;
}

/**
 * Runs a program of this machine without anything of the executor's environment.
 * @returns the beginning of what it printed
 * @throws HostCommandError; the signal's reason when it aborts
 */
export async function hostCommand(
  argv: readonly [string, ...string[]],
  options: HostCommandOptions = {},
): Promise<string> {
  const { signal, networkNamespace } = options;
  signal?.throwIfAborted();
  const command =
    networkNamespace === undefined ? argv : ['nsenter', `--net=${networkNamespace}`, '--', ...argv];
  const [program = '', ...parameters] = command;
  const child = spawn(program, parameters, {
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
  });
  const kill = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output.length < keptBytes) output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-keptBytes);
  });
  // A program that is missing or dies early breaks the pipe: its exit tells more.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  child.on('error', (error) => {
    const missing = Reflect.get(error, 'code') === 'ENOENT';
    reject(new HostCommandError(missing ? `${program} is not installed` : error.message, missing));
  });
  child.on('close', (code, killed) => {
    if (code === 0) resolve(output);
    else if (killed !== null) reject(new HostCommandError(`${argv[0]} did not end within ${seconds} s`));
    else {
      const said = complaint.trim().slice(-1000);
      reject(
        new HostCommandError(said === '' ? `${argv[0]} ended with status ${code}` : `${argv[0]}: ${said}`),
      );
    }
  });
  try {
    return await promise;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}
