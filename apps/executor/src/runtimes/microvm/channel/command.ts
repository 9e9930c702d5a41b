import { constants } from 'node:os';
import { brokenProtocol, maxHostPayload, outputWindow } from './frames.ts';
import { GuestError } from './guest-error.ts';

export interface GuestCommand {
  /** The program by its path or its name in the PATH of `env`, and its arguments. */
  argv: readonly string[];
  /** All of it, but for PATH, which has a default. */
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  /** Awaited before more output is granted to the guest. */
  output?: { write(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> };
  /** Interactive: a pseudo-terminal instead of pipes; all output is `stdout`. */
  terminal?: { rows: number; columns: number };
}

/** @throws GuestError for what no command can be given */
export function commandPayload({ argv, env = {}, cwd = '', terminal }: GuestCommand): Buffer {
  if (argv.length === 0) throw new GuestError('a command without a program');
  const variables = Object.entries(env).map(([name, value]) => {
    if (name === '' || name.includes('=')) throw new GuestError(`${JSON.stringify(name)} names no variable`);
    return `${name}=${value}`;
  });
  const head = Buffer.alloc(13);
  head.writeUInt8(terminal === undefined ? 0 : 1, 0);
  head.writeUInt16LE(terminal?.rows ?? 0, 1);
  head.writeUInt16LE(terminal?.columns ?? 0, 3);
  head.writeUInt32LE(outputWindow, 5);
  head.writeUInt32LE(argv.length, 9);
  const payload = Buffer.concat([head, ...[cwd, ...argv, ...variables].flatMap(lengthAndText)]);
  if (payload.length > maxHostPayload)
    throw new GuestError(
      `the arguments and the environment of ${argv[0]} have ${payload.length} bytes, more than ${maxHostPayload}; write them to a file`,
    );
  return payload;
}

export function lengthAndText(text: string): Uint8Array[] {
  return lengthAndBytes(textBytes(text));
}

export function lengthAndBytes(bytes: Uint8Array): [Buffer, Uint8Array] {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return [length, bytes];
}

export function textBytes(text: string): Buffer {
  if (text.includes('\0')) throw new GuestError('a zero byte in an argument, variable or path');
  return Buffer.from(text, 'utf8');
}

/** @throws GuestError for what is no exit status */
export function readExit(payload: Buffer): { code: number } | { signal: string } {
  const [kind, value] = payload;
  if (payload.length !== 2 || value === undefined || (kind !== 0 && kind !== 1))
    throw brokenProtocol('an exit status that is none');
  if (kind === 0) return { code: value };
  const name = Object.entries(constants.signals).find(([, number]) => number === value)?.[0];
  return { signal: name ?? `signal ${value}` };
}

const longestMessage = 1000;

/** @returns what the guest said @throws GuestError for what is no answer */
export function readFailure(payload: Buffer): GuestError {
  if (payload.length < 4) throw brokenProtocol('a failure without a reason');
  const message = payload.subarray(4, 4 + longestMessage).toString('utf8');
  return new GuestError(message, { errno: payload.readUInt32LE() });
}
