import { spawn } from 'node:child_process';
import { GuestBuildError } from './guest-build-error.ts';

export interface ProgramOptions {
  signal: AbortSignal;
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  /** Debian package that has it, for the error when it is missing. */
  debianPackage: string;
}

// A download by a slow line may take long, but not for ever.
const longestSeconds = 30 * 60;

/**
 * Runs a program to its end, without a shell.
 * @returns what it printed
 * @throws GuestBuildError that quotes its last words; the signal's reason
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<string> {
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(longestSeconds * 1000)]);
  signal.throwIfAborted();
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: searchPath,
      LC_ALL: 'C.UTF-8',
      DEBIAN_FRONTEND: 'noninteractive',
      ...proxies(),
      ...options.env,
    },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    signal,
    killSignal: 'SIGKILL',
  });
  const printed: Buffer[] = [];
  let lastWords = '';
  child.stdout.on('data', (bytes: Buffer) => printed.push(bytes));
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => {
      lastWords = (lastWords + bytes.toString('utf8')).slice(-2000);
    });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject);
  child.on('close', resolve);
  let code: number | null;
  try {
    code = await promise;
  } catch (error) {
    options.signal.throwIfAborted();
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      throw new GuestBuildError(`${program}: ${(error as Error).message}`, { cause: error });
    throw new GuestBuildError(
      `the program ${program} is missing; on Debian and its kin: apt-get install --no-install-recommends ${options.debianPackage}`,
    );
  }
  if (code === 0) return Buffer.concat(printed).toString('utf8');
  throw new GuestBuildError(
    `${[program, ...args.slice(-3)].join(' ')} failed (exit code ${code}): ${lastWords.trim()}`,
  );
}

const searchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** apt-get reaches its archive the way this process was told to reach the world. */
function proxies(): Record<string, string> {
  const names = ['http_proxy', 'https_proxy', 'no_proxy'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name] ?? process.env[name.toUpperCase()];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}
