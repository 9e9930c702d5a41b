import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Least version: earlier ones lack what the clone uses. */
const least: readonly [number, number] = [2, 26];
/**
 * First version of each series without the holes that a hostile repository can reach in a clone as we make it (no
 * submodules, no filters): heap overflows in attribute files (CVE-2022-23521) and formatting (CVE-2022-41903).
 * Later series never had them.
 */
const mendedPatch: Readonly<Record<string, number>> = {
  '2.30': 7,
  '2.31': 6,
  '2.32': 5,
  '2.33': 6,
  '2.34': 6,
  '2.35': 6,
  '2.36': 4,
  '2.37': 5,
  '2.38': 3,
  '2.39': 1,
};

export interface GitCheck {
  /** Empty when git cannot be run or its version cannot be read. */
  version: string;
  problem?: { message: string; fix: string };
}

/** Whether this machine's git is new enough to be given an untrusted repository. */
export async function checkGit(
  env: NodeJS.ProcessEnv,
  allowUnpatched: boolean,
  signal: AbortSignal,
): Promise<GitCheck> {
  let printed: string;
  try {
    const { stdout } = await execute('git', ['version'], {
      env: { PATH: env['PATH'] ?? '' },
      timeout: 5000,
      signal,
    });
    printed = stdout;
  } catch (error) {
    const message = `git cannot be run: ${(error as Error).message.split('\n')[0] ?? ''}`;
    return {
      version: '',
      problem: { message, fix: 'install git 2.39.1 or newer (Debian: apt-get install git)' },
    };
  }
  return judgeGitVersion(printed, allowUnpatched);
}

/** @param printed what `git version` prints, vendor suffixes included */
export function judgeGitVersion(printed: string, allowUnpatched: boolean): GitCheck {
  const match = /^git version (\d+)\.(\d+)(?:\.(\d+))?/.exec(printed.trim());
  if (match === null) {
    const message = `cannot read a version in ${JSON.stringify(printed.trim().slice(0, 80))}`;
    return { version: '', problem: { message, fix: 'install git 2.39.1 or newer' } };
  }
  const [major, minor, patch] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
  const version = `${major}.${minor}.${patch}`;
  if (major < least[0] || (major === least[0] && minor < least[1])) {
    const message = `git ${version} is too old; at least ${least.join('.')} is needed`;
    return { version, problem: { message, fix: 'install git 2.39.1 or newer' } };
  }
  const mended =
    major > 2 ? 0 : minor < 30 ? Number.POSITIVE_INFINITY : (mendedPatch[`${major}.${minor}`] ?? 0);
  if (patch < mended && !allowUnpatched) {
    return {
      version,
      problem: {
        message: `git ${version} has known holes that a hostile repository can use (CVE-2022-23521, CVE-2022-41903)`,
        fix: 'install git 2.39.1 or newer; if your distribution has mended them in this version, set EXECUTOR_ALLOW_UNPATCHED_GIT=true',
      },
    };
  }
  return { version };
}
