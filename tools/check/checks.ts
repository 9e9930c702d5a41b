import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { runCommand } from '../process/run-command.ts';

/** A look at the sources that needs no service. Resolves to what is wrong, for people; undefined: nothing. */
interface Check {
  name: string;
  run(root: string, signal: AbortSignal): Promise<string | undefined>;
}

const checks: readonly Check[] = [
  { name: 'types', run: (root, signal) => tool(['tsc', '--noEmit'], root, signal) },
  {
    name: 'lint and format',
    run: (root, signal) =>
      tool(['biome', 'check', '--error-on-warnings', '--max-diagnostics=50', '.'], root, signal),
  },
  {
    name: 'dead code',
    run: (root, signal) => tool(['knip', '--no-progress', '--no-config-hints'], root, signal),
  },
  { name: 'lockfiles', run: checkLockfiles },
];

/** Runs every check, says how long each took, and resolves to the number of those that failed. */
export async function runChecks(root: string, signal: AbortSignal): Promise<number> {
  let failed = 0;
  for (const check of checks) {
    const startedMs = performance.now();
    const complaint = await check.run(root, signal);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    process.stdout.write(`${check.name}: ${complaint === undefined ? 'ok' : 'FAILED'} (${seconds} s)\n`);
    if (complaint === undefined) continue;
    failed++;
    process.stdout.write(`${complaint.trimEnd()}\n`);
  }
  return failed;
}

async function tool(
  command: readonly string[],
  root: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const [program = '', ...args] = command;
  const { code, output } = await runCommand(program, args, { cwd: root, env: process.env, signal });
  return code === 0 ? undefined : output || `${program} ended with exit code ${code}`;
}

interface LockEntry {
  resolved?: string;
  integrity?: string;
  link?: boolean;
  /** Comes inside another package, whose hash covers it. */
  inBundle?: boolean;
  optionalDependencies?: Record<string, string>;
}

/**
 * A lockfile names no download addresses, so that any registry will do, says what each package must hash to, and has
 * every optional package: where a registry lacks one npm leaves it out, and then refuses the lockfile on a clean install.
 */
async function checkLockfiles(root: string): Promise<string | undefined> {
  const complaints: string[] = [];
  for (const file of ['package-lock.json', 'tools/node/package-lock.json']) {
    const lock: { packages: Record<string, LockEntry> } = JSON.parse(
      await readFile(path.join(root, file), 'utf8'),
    );
    for (const [name, entry] of Object.entries(lock.packages)) {
      const { resolved, integrity, optionalDependencies } = entry;
      const isInstalled = name.startsWith('node_modules/') || name.includes('/node_modules/');
      if (isInstalled && /^\w+:/.test(resolved ?? '')) complaints.push(`${file}: ${name} has an address`);
      if (isInstalled && !integrity && !entry.link && !entry.inBundle)
        complaints.push(`${file}: ${name} has no integrity`);
      for (const optional of Object.keys(optionalDependencies ?? {})) {
        if (!isInLock(lock.packages, name, optional)) complaints.push(`${file}: ${name} lacks ${optional}`);
      }
    }
  }
  if (complaints.length === 0) return undefined;
  return `${complaints.join('\n')}\nmake it again with this project's npm and .npmrc; where a package lacks another, take a release that is complete`;
}

/** Looked for as Node does: below the package, then below each package around it. */
function isInLock(packages: Record<string, LockEntry>, from: string, dependency: string): boolean {
  for (let at = from; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (packages[`${at}/node_modules/${dependency}`]) return true;
  }
  return packages[`node_modules/${dependency}`] !== undefined;
}
