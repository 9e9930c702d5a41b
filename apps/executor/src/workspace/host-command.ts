import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { JobLog, LogEntry } from '../logs/index.ts';

export interface HostCommand {
  /** Log key. */
  key: string;
  /** Run as it is: no shell. */
  argv: readonly [string, ...string[]];
  /** All of the command's environment. */
  env: Readonly<Record<string, string>>;
  cwd?: string;
}

/** A command of the executor itself failed. The message names its key and quotes what it said last. */
class HostCommandError extends Error {
  override readonly name = 'HostCommandError';
}

/**
 * Runs a command on this machine as one log entry. When `signal` aborts, the command and all it started are killed.
 * @param again called after a failure: true runs it once more within the same entry
 * @throws HostCommandError when it cannot start or ends with another code than 0; the signal's reason when it aborts
 */
export async function runHostCommand(
  command: HostCommand,
  log: Pick<JobLog, 'begin'>,
  signal: AbortSignal,
  again: (entry: LogEntry) => Promise<boolean> = async () => false,
): Promise<void> {
  signal.throwIfAborted();
  const entry = log.begin(command.key, command.argv);
  let exitCode = -1;
  try {
    for (;;) {
      const result = await run(command, entry, signal);
      exitCode = result.exitCode;
      if (exitCode === 0) return;
      signal.throwIfAborted();
      if (!(await again(entry))) throw failure(command, exitCode, result.lastWords);
    }
  } finally {
    entry.end(signal.aborted ? -1 : exitCode);
  }
}

async function run(
  command: HostCommand,
  entry: LogEntry,
  signal: AbortSignal,
): Promise<{ exitCode: number; lastWords: string }> {
  const [program, ...args] = command.argv;
  const child = spawn(program, args, {
    env: command.env,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that helpers (git's transports) die with it.
    detached: true,
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new HostCommandError(`${command.key}: cannot run ${program}: ${cause.message}`, { cause })),
    );
    child.once('close', (code) => resolve(code ?? -1));
  });
  const kill = () => {
    if (child.pid === undefined || child.exitCode !== null) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  signal.addEventListener('abort', kill, { once: true });
  if (signal.aborted) kill();
  try {
    let said: Buffer = Buffer.alloc(0);
    const drain = async (stream: 'stdout' | 'stderr', source: Readable) => {
      for await (const bytes of source as AsyncIterable<Buffer>) {
        said = Buffer.concat([said, bytes]).subarray(-2000);
        await entry.write(stream, bytes);
      }
    };
    const [exitCode] = await Promise.all([
      ended,
      drain('stdout', child.stdout),
      drain('stderr', child.stderr),
    ]);
    return { exitCode, lastWords: said.toString('utf8') };
  } finally {
    signal.removeEventListener('abort', kill);
    kill();
  }
}

function failure(command: HostCommand, exitCode: number, lastWords: string): HostCommandError {
  const lines = lastWords.split(/[\r\n]+/).filter((line) => line.trim() !== '');
  const telling =
    // Of a repository that git refuses: which object, and by which check. After it git says only that there was one.
    lines.findLast((line) => /^error: object [0-9a-f]{40,}: [a-zA-Z]+: /.test(line)) ??
    lines.findLast((line) => /^(fatal|error):/.test(line)) ??
    lines.at(-1);
  const quoted = telling === undefined ? '' : `: ${telling.trim()}`;
  return new HostCommandError(`${command.key}: command failed with exit code ${exitCode}${quoted}`);
}
