import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { checkout } from '../process/programs.ts';
import { runCommand } from '../process/run-command.ts';

/**
 * A repository with a history: this checkout, or a small one made below `directory` where this is no complete git
 * repository (an unpacked archive, a shallow clone).
 * @returns its path
 */
export async function demoRepository(directory: string, signal: AbortSignal): Promise<string> {
  const shallow = await git(['rev-parse', '--is-shallow-repository'], checkout, signal);
  if (shallow.code === 0 && shallow.output.trim() === 'false') {
    const commits = await git(['rev-list', '--count', 'HEAD'], checkout, signal);
    if (commits.code === 0 && Number(commits.output) > 0) return checkout;
  }
  const made = path.join(directory, 'repository');
  await rm(made, { recursive: true, force: true });
  await mkdir(made, { recursive: true });
  await gitOrThrow(['init', '--quiet', '--initial-branch=main'], made, signal);
  for (const [number, line] of ['# Demo', 'A small repository.', 'With three commits.'].entries()) {
    await writeFile(path.join(made, 'README.md'), `${line}\n`, { flag: 'a' });
    await gitOrThrow(['add', 'README.md'], made, signal);
    const author = ['-c', 'user.name=Kiln demo', '-c', 'user.email=demo@localhost'];
    await gitOrThrow([...author, 'commit', '--quiet', '--message', `Commit ${number + 1}`], made, signal);
  }
  return made;
}

async function gitOrThrow(args: readonly string[], cwd: string, signal: AbortSignal): Promise<void> {
  const { code, output } = await git(args, cwd, signal);
  if (code !== 0) throw new Error(`git ${args.join(' ')} in ${cwd}: ${output}`);
}

/** Without anybody's configuration: hooks, signing and templates have no place here. */
function git(
  args: readonly string[],
  cwd: string,
  signal: AbortSignal,
): Promise<{ code: number; output: string }> {
  const env = { PATH: process.env['PATH'], GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' };
  return runCommand('git', ['-c', `safe.directory=${cwd}`, ...args], { cwd, env, signal });
}
