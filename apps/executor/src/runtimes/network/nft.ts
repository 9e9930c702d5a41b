import { spawn } from 'node:child_process';

const deadlineSeconds = 15;

/** The `nft` command failed; the message holds what it said. */
export class NftError extends Error {
  override readonly name = 'NftError';
  /** The command is not installed. */
  readonly missing: boolean;
  constructor(message: string, missing = false) {
    super(message);
    this.missing = missing;
  }
}

/**
 * Carries out a script as one transaction: all or nothing.
 * @param networkNamespace path of the namespace to act in; undefined: this process's own
 * @throws NftError
 */
export async function applyRules(networkNamespace: string | undefined, script: string): Promise<void> {
  await nft(networkNamespace, ['-f', '-'], script);
}

/**
 * @returns the table as JSON, with numbers for protocols and ports
 * @throws NftError
 */
export async function listTable(networkNamespace: string | undefined, table: string): Promise<string> {
  return nft(networkNamespace, ['-j', '-n', 'list', 'table', 'inet', table], '');
}

/** @throws NftError when rules cannot be read here, so surely not be set */
export async function checkFirewall(networkNamespace: string | undefined): Promise<void> {
  await nft(networkNamespace, ['list', 'tables'], '');
}

async function nft(
  networkNamespace: string | undefined,
  parameters: readonly string[],
  input: string,
): Promise<string> {
  const command = ['nft', ...parameters];
  if (networkNamespace !== undefined) command.unshift('nsenter', `--net=${networkNamespace}`, '--');
  const [program = '', ...rest] = command;
  const child = spawn(program, rest, {
    // Both live in sbin, which an unprivileged or minimal PATH lacks; nothing of our own environment is needed.
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: deadlineSeconds * 1000,
    killSignal: 'SIGKILL',
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (complaint.length < 4000) complaint += text;
  });
  // A command that is missing or dies early breaks the pipe: its exit tells more.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  child.on('error', (error) => {
    const missing = Reflect.get(error, 'code') === 'ENOENT';
    reject(new NftError(missing ? `${program} is not installed` : error.message, missing));
  });
  child.on('close', (code, signal) => {
    if (code === 0) resolve(output);
    else if (signal !== null) reject(new NftError(`nft did not end within ${deadlineSeconds} s`));
    else
      reject(new NftError(complaint.trim().slice(0, 1000) || `nft ended with status ${code}`, code === 127));
  });
  return promise;
}
