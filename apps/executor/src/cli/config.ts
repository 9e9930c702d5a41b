import { readSettings, renderSettingsReference, showSettings, thisHost } from '../env/index.ts';
import type { CommandSurroundings } from './surroundings.ts';

/** `executor config print|reference`. */
export function runConfig(
  { env, out, err }: CommandSurroundings,
  command: string | undefined,
  options: { json: boolean },
): number {
  if (command === 'reference') {
    out(renderSettingsReference());
    return 0;
  }
  if (command !== 'print') throw new Error('write "executor config print" or "executor config reference"');
  const read = readSettings(env, thisHost(env));
  const shown = showSettings(read);
  if (options.json) {
    out(`${JSON.stringify({ settings: shown, warnings: read.warnings }, null, 2)}\n`);
    return 0;
  }
  const width = Math.max(...shown.map(({ name }) => name.length));
  for (const { name, value, source } of shown) out(`${name.padEnd(width)}  ${value ?? '-'}  (${source})\n`);
  for (const warning of read.warnings) err(`warning: ${warning}\n`);
  return 0;
}
