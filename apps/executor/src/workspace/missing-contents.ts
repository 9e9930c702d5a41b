import { execFile } from 'node:child_process';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JobLog } from '../logs/index.ts';

const run = promisify(execFile);
const searchSeconds = 30;
const mostOutputBytes = 2 ** 20;
const namedFiles = 10;

export interface CheckedOut {
  /** The work tree. */
  directory: string;
  /** Environment of git for a repository that is not trusted. */
  env: Readonly<Record<string, string>>;
  log: Pick<JobLog, 'begin'>;
  signal: AbortSignal;
}

/**
 * Says in the job's log what a checkout does not hold, because steps fail over it in ways that do not tell: contents of
 * Git LFS, of which there are only pointers, and submodules. Never fails for what it cannot find out.
 */
export async function noteWhatIsMissing(checkedOut: CheckedOut): Promise<void> {
  const { directory, log } = checkedOut;
  const notes: string[] = [];
  const pointers = await lfsPointers(checkedOut);
  if (pointers.length > 0) {
    const names = pointers.slice(0, namedFiles).map((name) => JSON.stringify(name));
    const more = pointers.length > namedFiles ? ` and ${pointers.length - namedFiles} more` : '';
    notes.push(`files of Git LFS are pointers here, without their contents: ${names.join(', ')}${more}`);
  }
  const modules = await lstat(join(directory, '.gitmodules')).catch(() => undefined);
  if (modules !== undefined) notes.push('submodules are not cloned: their directories are empty');
  if (notes.length === 0) return;
  const entry = log.begin('setup.git.missing', []);
  for (const note of notes) entry.note(note);
  entry.end(0);
}

/** Paths of checked-out files that `.gitattributes` give to LFS and that hold pointers. */
async function lfsPointers({ directory, env, signal }: CheckedOut): Promise<string[]> {
  const pointer = '^version https://git-lfs.github.com/spec/v1$';
  const args = ['-C', directory, 'grep', '-l', '-z', '--no-recurse-submodules', '-e', pointer];
  try {
    const { stdout } = await run('git', [...args, '--', ':(attr:filter=lfs)'], {
      env,
      signal,
      timeout: searchSeconds * 1000,
      maxBuffer: mostOutputBytes,
      killSignal: 'SIGKILL',
    });
    return stdout.split('\0').filter((name) => name !== '');
  } catch (error) {
    signal.throwIfAborted();
    // Exit code 1: there are none. Else too many to list, too many to search, or a git that cannot: no reason to fail.
    const found: unknown = Reflect.get(Object(error), 'stdout');
    return typeof found === 'string' ? found.split('\0').slice(0, -1) : [];
  }
}
