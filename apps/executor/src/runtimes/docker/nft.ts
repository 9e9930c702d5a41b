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
 * Runs `nft` with a script on its standard input: one transaction, all or nothing.
 * @param networkNamespace path of the namespace to act in; undefined: this process's own
 * @returns standard output
 * @throws NftError
 */
export async function nft(
  networkNamespace: string | undefined,
  script: string,
  flags: readonly string[] = [],
): Promise<string> {
  const command = ['nft', ...flags, '-f', '-'];
  if (networkNamespace !== undefined) command.unshift('nsenter', `--net=${networkNamespace}`, '--');
  const [program = '', ...parameters] = command;
  const child = spawn(program, parameters, {
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
  child.stdin.end(script);
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
