import { ApiError } from '../../api-error.ts';
import { type Git, GitError } from './git-process.ts';

/**
 * The first release of each line that is safe for what we do. Before them a hostile source can run code in, or read
 * files of, whoever fetches from it (CVE-2024-32002, -32004, -32020, -32021, -32465). Distributions fix later holes
 * without changing this number, so it says nothing about those; they concern submodules, bundles and credential
 * prompts, which mirrors use none of.
 */
const safeReleases: readonly (readonly [number, number, number])[] = [
  [2, 39, 4],
  [2, 40, 2],
  [2, 41, 1],
  [2, 42, 2],
  [2, 43, 4],
  [2, 44, 1],
  [2, 45, 1],
];

/**
 * The version of git on this machine.
 * @throws ApiError 503 `git_missing` or `git_too_old`
 */
export async function requireSafeGit(git: Git): Promise<string> {
  let printed: string;
  try {
    printed = await git.run({ args: ['version'], timeoutSeconds: 30 });
  } catch (err) {
    if (!(err instanceof GitError) || err.kind !== 'missing') throw err;
    throw new ApiError(
      503,
      'git_missing',
      'git is not installed on the machine of the instance',
      'Install git (Debian: apt-get install git).',
    );
  }
  const version = /^git version (\S+)/.exec(printed)?.[1] ?? printed.trim();
  if (isSafeGitVersion(version)) return version;
  throw new ApiError(
    503,
    'git_too_old',
    `git ${version} of the machine of the instance has known holes that a hostile repository can use`,
    'Install git 2.45.1 or later, or the last release of its line from 2.39.4 on.',
  );
}

export function isSafeGitVersion(version: string): boolean {
  const parts = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(version);
  if (!parts) return false;
  const [major, minor, patch] = [Number(parts[1]), Number(parts[2]), Number(parts[3] ?? 0)];
  const line = safeReleases.find(([safeMajor, safeMinor]) => safeMajor === major && safeMinor === minor);
  if (line) return patch >= line[2];
  return major > 2 || (major === 2 && minor > 45);
}
