import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { z } from 'zod';

/** A helper that opens a browser or waits for a key would wait for ever on a machine without people. */
const deadlineSeconds = 15;
const maxAnswerBytes = 256 * 1024;

const answerSchema = z.object({ Username: z.string(), Secret: z.string() });

/** A credential helper is missing, failed, or answered with something else. The message holds no credential. */
export class CredentialHelperError extends Error {
  override readonly name = 'CredentialHelperError';
}

/**
 * Asks `docker-credential-<helper> get` for the credentials of a registry.
 * @param server the name under which the helper keeps the registry
 * @returns base64 of `user:password`; undefined when the helper has none
 * @throws CredentialHelperError; the signal's reason when it aborts
 */
export async function askCredentialHelper(
  helper: string,
  server: string,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string | undefined> {
  // The name becomes that of a program: no path, and nothing that could be read as an option.
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(helper)) {
    throw new CredentialHelperError(`${JSON.stringify(helper)} is no name of a credential helper`);
  }
  const program = `docker-credential-${helper}`;
  const { exitCode, output, complaint } = await runHelper(program, server, environment, signal);
  if (exitCode !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    const quoted = complaint === '' ? '' : `: ${complaint}`;
    throw new CredentialHelperError(`${program} failed with exit code ${exitCode}${quoted}`);
  }
  const answer = answerSchema.safeParse(parsed(output));
  if (!answer.success) throw new CredentialHelperError(`${program} did not answer with credentials`);
  const { Username: user, Secret: password } = answer.data;
  if (user === '<token>') {
    throw new CredentialHelperError(
      `${program} has an identity token, which cannot be used: log in with a password`,
    );
  }
  if (user === '' && password === '') return undefined;
  return Buffer.from(`${user}:${password}`, 'utf8').toString('base64');
}

async function runHelper(
  program: string,
  server: string,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<{ exitCode: number; output: string; complaint: string }> {
  signal.throwIfAborted();
  const deadline = AbortSignal.timeout(deadlineSeconds * 1000);
  const stop = AbortSignal.any([signal, deadline]);
  const child = spawn(program, ['get'], {
    env: { ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
    // A group of its own, so that what it starts dies with it.
    detached: true,
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new CredentialHelperError(`cannot run ${program}: ${cause.message}`, { cause })),
    );
    child.once('close', (code) => resolve(code ?? -1));
  });
  const kill = () => killGroup(child.pid);
  stop.addEventListener('abort', kill, { once: true });
  // A helper may end without reading what it is asked; its answer tells how that went.
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${server}\n`);
  try {
    const [exitCode, output, complaint] = await Promise.all([
      ended,
      readLimited(child.stdout, program),
      readLimited(child.stderr, program),
    ]);
    signal.throwIfAborted();
    if (deadline.aborted) {
      throw new CredentialHelperError(`${program} did not answer within ${deadlineSeconds} seconds`);
    }
    return { exitCode, output, complaint: lastLine(complaint) };
  } finally {
    stop.removeEventListener('abort', kill);
    kill();
  }
}

async function readLimited(stream: Readable, program: string): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxAnswerBytes) throw new CredentialHelperError(`${program} answered with too much`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function lastLine(text: string): string {
  return (text.trim().split('\n').at(-1) ?? '').slice(0, 300);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
