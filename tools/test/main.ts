// `npm test [-- VITEST ARGUMENTS]`: sets the machine up, then checks the sources and runs every test. With arguments,
// Vitest alone is run with them. Ends with the line `N passed, N failed, N skipped`.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { runChecks } from '../check/checks.ts';
import { interruption } from '../process/interruption.ts';
import { runCommand } from '../process/run-command.ts';
import { ensureSystem } from '../setup/ensure-system.ts';
import { testNeedNames } from '../setup/needs.ts';
import { type Counts, countsFileVariable, plainLine } from './counts.ts';

const root = path.join(import.meta.dirname, '..', '..');
const signal = interruption();
let counts: Counts = { passed: 0, failed: 1, skipped: 0 };
try {
  const args = process.argv.slice(2).filter((argument) => argument !== '--yes');
  await ensureSystem({ need: testNeedNames, yes: process.argv.includes('--yes'), signal });
  const failedChecks = args.length > 0 ? 0 : await runChecks(root, signal);
  counts = await runTests(args);
  counts.failed += failedChecks;
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
}
if (counts.failed > 0) process.exitCode = 1;
process.stdout.write(plainLine(counts));

async function runTests(args: readonly string[]): Promise<Counts> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-test-'));
  const countsFile = path.join(directory, 'counts.json');
  try {
    const { code } = await runCommand('vitest', ['run', ...args], {
      cwd: root,
      env: { ...process.env, [countsFileVariable]: countsFile },
      signal,
      output: 'show',
    });
    if (code !== 0) process.exitCode = 1;
    return JSON.parse(await readFile(countsFile, 'utf8'));
  } finally {
    await rm(directory, { recursive: true });
  }
}
