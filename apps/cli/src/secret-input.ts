import { isUtf8 } from 'node:buffer';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { maxSecretValueBytes } from '@kiln/protocol';
import { CliError, Interrupted } from './errors.ts';
import type { Invocation } from './invocation.ts';

/**
 * A value that no list of processes, shell history or screen shows: a line typed unseen where standard input is a
 * terminal, else all of standard input, without the line end that `echo` and editors put after it.
 * @param command what reads it, for the hint
 * @throws CliError
 */
export async function readSecretValue(
  name: string,
  invocation: Asked,
  command = `kiln secret set ${name}`,
): Promise<string> {
  const value = await readUnseen(name, invocation);
  if (value !== '') return value;
  throw new CliError(`no value was given for ${name}`, {
    hint: `type it when asked, or give it to standard input: ${command} < FILE`,
  });
}

/** A password, in the same way. @throws CliError */
export async function readPassword(name: string, invocation: Asked): Promise<string> {
  const value = await readUnseen(name, invocation);
  if (value !== '') return value;
  throw new CliError('no password was given', { hint: 'type it when asked, or give it to standard input' });
}

/** A password to be set, which is typed twice because nobody sees it. @throws CliError */
export async function readNewPassword(name: string, invocation: Asked): Promise<string> {
  const password = await readPassword(name, invocation);
  if (invocation.stdin.isTTY !== true) return password;
  if ((await readPassword(`${name}, again`, invocation)) === password) return password;
  throw new CliError('that was another password than before', {
    hint: 'start again and type the same one twice',
  });
}

/** Refuses what was typed after the other arguments; the parser's own refusal would quote it. @throws CliError */
export function refuseArguments(args: readonly string[], expected: number, secret: string): void {
  if (args.length <= expected) return;
  throw new CliError(`${secret} is never an argument: every user of this machine could read it`, {
    hint: 'it is in the history of your shell now, too; type it when asked, or give it to standard input',
  });
}

type Asked = Pick<Invocation, 'stdin' | 'stderr' | 'interrupted'>;

async function readUnseen(name: string, invocation: Asked): Promise<string> {
  const { stdin } = invocation;
  return stdin.isTTY === true ? ask(`${name}: `, invocation) : readAll(stdin);
}

async function ask(prompt: string, { stdin, stderr, interrupted }: Asked): Promise<string> {
  stderr.write(prompt);
  // What is typed is echoed by whoever reads it, here to nobody.
  const nobody = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output: nobody, terminal: true, historySize: 0 });
  // Control-C reaches the reader, not the process; the end of input (Control-D) closes it without an answer.
  const given = new AbortController();
  for (const event of ['SIGINT', 'close'] as const) lines.once(event, () => given.abort());
  try {
    return await lines.question('', { signal: AbortSignal.any([interrupted, given.signal]) });
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') throw new Interrupted();
    throw error;
  } finally {
    lines.close();
    stderr.write('\n');
  }
}

/** A little more than is taken, so that the instance says what is too much. */
const mostBytes = 2 * maxSecretValueBytes;

async function readAll(stdin: Invocation['stdin']): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stdin) {
    const bytes = Buffer.from(chunk as Uint8Array | string);
    length += bytes.length;
    if (length > mostBytes) throw new CliError(`the value has more than ${maxSecretValueBytes} bytes`);
    chunks.push(bytes);
  }
  const bytes = Buffer.concat(chunks);
  if (!isUtf8(bytes)) {
    throw new CliError('the value is not UTF-8 text', { hint: 'give its base64: base64 -w 0 FILE | ...' });
  }
  return bytes.toString('utf8').replace(/\r?\n$/, '');
}
