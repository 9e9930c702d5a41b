// `npm run check`: types, lint, dead code, lockfiles, and the tests that need nothing but Node.
import path from 'node:path';
import { interruption } from '../process/interruption.ts';
import { runCommand } from '../process/run-command.ts';
import { runChecks } from './checks.ts';

const root = path.join(import.meta.dirname, '..', '..');
const signal = interruption();
const failed = await runChecks(root, signal);
const tests = await runCommand('vitest', ['run', '--project', 'unit'], {
  cwd: root,
  env: process.env,
  signal,
  output: 'show',
});
process.exitCode = failed === 0 && tests.code === 0 ? 0 : 1;
