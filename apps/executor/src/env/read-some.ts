import { defaultText, type Host, lookUp, SettingsError } from './read.ts';
import type { Variable } from './variable.ts';
import { type ParsedVariables, type VariableKey, variables } from './variables.ts';

/**
 * Reads some of the settings, for commands that work without an instance: what the others lack is no mistake here.
 * @throws SettingsError with all mistakes in these
 */
export function readSomeSettings<Key extends VariableKey>(
  keys: readonly Key[],
  env: Readonly<Record<string, string | undefined>>,
  host: Host,
): Pick<ParsedVariables, Key> {
  const values: Partial<Record<Key, unknown>> = {};
  const mistakes: string[] = [];
  for (const key of keys) {
    const variable: Variable<unknown> = variables[key];
    const found = lookUp(variable, env);
    const text = found?.value ?? defaultText(variable, host);
    if (text === undefined) continue;
    try {
      values[key] = variable.parse(text);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      mistakes.push(`${found?.from ?? variable.name}: ${error.message}`);
    }
  }
  if (mistakes.length > 0) throw new SettingsError(mistakes);
  return values as Pick<ParsedVariables, Key>;
}
