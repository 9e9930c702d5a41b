import { SettingsError } from '../env/index.ts';
import {
  type Check,
  checkCapacity,
  checkEgress,
  checkExporters,
  checkHost,
  checkInstance,
  checkMachine,
  checkRegistries,
  checkResolvers,
  checkSameMachine,
  checksText,
} from './checks/index.ts';
import { type Start, start } from './start.ts';
import type { CommandSurroundings } from './surroundings.ts';

/** `executor validate`: one line per check, with what to do where something is wrong. Exit code 1 on any error. */
export async function runValidate(
  surroundings: CommandSurroundings,
  options: { json: boolean },
): Promise<number> {
  const checks = await runChecks(surroundings);
  const isFine = checks.every(({ state }) => state !== 'error');
  surroundings.out(
    options.json ? `${JSON.stringify({ ok: isFine, checks }, null, 2)}\n` : checksText(checks),
  );
  return isFine ? 0 : 1;
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
  const { env } = surroundings;
  await using runtime = started.runtime;
  const groups = await Promise.all([
    checkMachine(settings, runtime, env, { tryOut: true }),
    checkRegistries(settings, runtime, env),
    checkEgress(),
    checkResolvers(),
    checkCapacity(settings),
    checkHost(),
    checkInstance(settings, env),
    checkSameMachine(settings),
    checkExporters(settings),
  ]);
  return [
    { name: 'settings', state: 'ok', message: 'no mistakes', fix: '' },
    ...warnings.map((message): Check => ({ name: 'settings', state: 'warning', message, fix: '' })),
    ...groups.flat(),
  ];
}
