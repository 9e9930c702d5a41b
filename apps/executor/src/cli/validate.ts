import { SettingsError } from '../env/index.ts';
import { type Check, checkInstance, checkMachine } from './checks.ts';
import { checkExporters } from './exporters.ts';
import { type Start, start } from './start.ts';
import type { CommandSurroundings } from './surroundings.ts';

/** `executor validate`: one line per check, with what to do where something is wrong. Exit code 1 on any error. */
export async function runValidate(
  surroundings: CommandSurroundings,
  options: { json: boolean },
): Promise<number> {
  const checks = await runChecks(surroundings);
  const failed = checks.filter(({ state }) => state === 'error').length;
  if (options.json) {
    surroundings.out(`${JSON.stringify({ ok: failed === 0, checks }, null, 2)}\n`);
    return failed === 0 ? 0 : 1;
  }
  for (const { name, state, message, fix } of checks) {
    surroundings.out(`${state.padEnd(7)}  ${name}: ${message}\n`);
    if (fix !== '') surroundings.out(`         -> ${fix}\n`);
  }
  surroundings.out(failed === 0 ? 'All checks passed.\n' : `${failed} of ${checks.length} checks failed.\n`);
  return failed === 0 ? 0 : 1;
}

async function runChecks(surroundings: CommandSurroundings): Promise<Check[]> {
  let started: Start;
  try {
    started = start(surroundings);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    const settings = (state: Check['state']) => (message: string) => ({
      name: 'settings',
      state,
      message,
      fix: '',
    });
    return [...error.mistakes.map(settings('error')), ...error.warnings.map(settings('warning'))];
  }
  const { settings, warnings } = started;
  await using runtime = started.runtime;
  const [machine, instance, exporters] = await Promise.all([
    checkMachine(settings, runtime, surroundings.env, { tryOut: true }),
    checkInstance(settings),
    checkExporters(settings),
  ]);
  return [
    { name: 'settings', state: 'ok', message: 'no mistakes', fix: '' },
    ...warnings.map((message): Check => ({ name: 'settings', state: 'warning', message, fix: '' })),
    ...machine,
    ...instance,
    ...exporters,
  ];
}
