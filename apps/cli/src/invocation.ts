import type { Readable, Writable } from 'node:stream';

/** Everything the program takes from its process, so that a command can be run in a test as from a shell. */
export interface Invocation {
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  stdin: Readable & { isTTY?: boolean };
  stdout: Writable & { isTTY?: boolean };
  stderr: Writable & { isTTY?: boolean };
  /** Aborts at SIGINT and SIGTERM. */
  interrupted: AbortSignal;
}
