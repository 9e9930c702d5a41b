import { editDistance } from '@kiln/protocol';
import { sharedSecret } from './kinds.ts';
import { checkRules } from './rules.ts';
import type { DefaultFacts, Variable } from './variable.ts';
import { type ParsedVariables, type Settings, type VariableKey, variables } from './variables.ts';

/** What reading the settings needs from the machine. */
export interface Host extends DefaultFacts {
  /** @throws when there is no such file */
  readFile(path: string): string;
  isFile(path: string): boolean;
}

/** Where the value of a variable came from: `default`, or the name of the environment variable that set it. */
export type Sources = Readonly<Record<VariableKey, string>>;

export interface SettingsRead {
  settings: Settings;
  /** The text of every variable as it is in force; undefined where there is none. For {@link Variable.secret}s too. */
  texts: Readonly<Record<VariableKey, string | undefined>>;
  sources: Sources;
  /** Things that work but that somebody probably did not mean. */
  warnings: string[];
}

/** All mistakes of the environment together, one line each, each naming its variable. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
  readonly mistakes: readonly string[];
  /** Things that may explain them: names that are no settings. */
  readonly warnings: readonly string[];
  constructor(mistakes: readonly string[], warnings: readonly string[] = []) {
    const list = mistakes.map((mistake) => `\n  - ${mistake}`).join('');
    const explanations = warnings.map((warning) => `\n(${warning})`).join('');
    super(
      mistakes.length === 1
        ? `there is a mistake in the settings: ${mistakes[0]}${explanations}`
        : `there are ${mistakes.length} mistakes in the settings:${list}${explanations}`,
    );
    this.mistakes = mistakes;
    this.warnings = warnings;
  }
}

/**
 * Reads every setting from the environment (from the reference): `<NAME>_executor` overrides `<NAME>`, set but
 * empty counts as unset.
 * @throws SettingsError with all mistakes
 */
export function readSettings(env: Readonly<Record<string, string | undefined>>, host: Host): SettingsRead {
  const texts: Partial<Record<VariableKey, string>> = {};
  const sources: Partial<Record<VariableKey, string>> = {};
  const values: Record<string, unknown> = {};
  const mistakes: string[] = [];
  for (const key of variableKeys()) {
    const variable: Variable<unknown> = variables[key];
    const found = lookUp(variable, env);
    const value = found?.value ?? defaultText(variable, host);
    sources[key] = found?.from ?? 'default';
    if (value === undefined) {
      if (variable.required)
        mistakes.push(`${variable.name}: no value was supplied; ${firstSentence(variable.doc)}`);
      continue;
    }
    texts[key] = value;
    try {
      values[key] = variable.parse(value);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      mistakes.push(`${found?.from ?? variable.name}: ${error.message}`);
    }
  }
  const parsed = values as Partial<ParsedVariables>;
  const secret = readSecret(parsed, env, host, mistakes);
  const checked = checkRules(parsed, texts, host);
  mistakes.push(...checked.mistakes);
  if (mistakes.length > 0 || checked.queues === undefined || secret === undefined)
    throw new SettingsError(mistakes, unknownNames(env));
  const { queueName, queueNames, frontendPassword, frontendPasswordFile, ...rest } =
    values as ParsedVariables;
  return {
    settings: { ...rest, sharedSecret: secret, queues: checked.queues },
    texts: texts as SettingsRead['texts'],
    sources: sources as Sources,
    warnings: [...checked.warnings, ...unknownNames(env)],
  };
}

export function variableKeys(): VariableKey[] {
  return Object.keys(variables) as VariableKey[];
}

export function lookUp(
  variable: Variable<unknown>,
  env: Readonly<Record<string, string | undefined>>,
): { value: string; from: string } | undefined {
  for (const name of [variable.name, ...(variable.fallback === undefined ? [] : [variable.fallback])]) {
    for (const from of [`${name}_executor`, name]) {
      const value = env[from];
      if (value !== undefined && value !== '') return { value, from };
    }
  }
  return undefined;
}

export function defaultText(variable: Variable<unknown>, host: Host): string | undefined {
  return typeof variable.default === 'object' ? variable.default.from(host) : variable.default;
}

function firstSentence(doc: string): string {
  const sentence = doc.split('. ')[0] ?? doc;
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

function readSecret(
  parsed: Partial<ParsedVariables>,
  env: Readonly<Record<string, string | undefined>>,
  host: Host,
  mistakes: string[],
): string | undefined {
  const file = parsed.frontendPasswordFile;
  if (parsed.frontendPassword !== undefined) {
    if (file === undefined) return parsed.frontendPassword;
    mistakes.push(
      'EXECUTOR_FRONTEND_PASSWORD and EXECUTOR_FRONTEND_PASSWORD_FILE are both set; set one of them',
    );
    return undefined;
  }
  if (file === undefined) {
    const tried = ['EXECUTOR_FRONTEND_PASSWORD', 'EXECUTOR_FRONTEND_PASSWORD_FILE'].some(
      (name) => (env[name] ?? '') !== '' || (env[`${name}_executor`] ?? '') !== '',
    );
    if (!tried)
      mistakes.push(
        'EXECUTOR_FRONTEND_PASSWORD: no value was supplied; it takes the shared secret, `executors.accessToken` of the instance',
      );
    return undefined;
  }
  try {
    return sharedSecret.parse(host.readFile(file).replace(/\r?\n$/, ''));
  } catch (error) {
    const cause = error instanceof RangeError ? error.message : `cannot be read: ${(error as Error).message}`;
    mistakes.push(`EXECUTOR_FRONTEND_PASSWORD_FILE: ${JSON.stringify(file)} ${cause}`);
    return undefined;
  }
}

/** Names that look like settings but are none: most are slips of the keyboard, which otherwise pass in silence. */
function unknownNames(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = variableKeys().flatMap((key) => {
    const variable: Variable<unknown> = variables[key];
    return variable.fallback === undefined ? [variable.name] : [variable.name, variable.fallback];
  });
  return Object.keys(env)
    .filter((name) => !known.includes(name.replace(/_executor$/, '')) && !namesOfOthers.has(name))
    .sort()
    .flatMap((name) => {
      if (name.startsWith('EXECUTOR_KUBERNETES_'))
        return [`${name} has no effect: this version has no Kubernetes runtime`];
      const meant = closest(name, known);
      if (meant !== undefined) return [`${name} is no setting; did you mean ${meant}?`];
      return /^EXECUTOR_[A-Z_]/.test(name) ? [`${name} is no setting`] : [];
    });
}

/** Of Kiln's other programs, which may share an environment file with the executor. */
const namesOfOthers = new Set(['KILN_DATA_DIR']);
const longestSlip = 3;
/** Other programs' variables are not ours to judge: what is not nearly one of ours is left alone. */
const longestForeignSlip = 2;
/** Short names are near to anything. */
const shortestGuessed = 12;

function closest(name: string, known: readonly string[]): string | undefined {
  // The settings of the instance begin with KILN_, so these of the executor are tried with it.
  const written = name
    .replace(/_executor$/, '')
    .toUpperCase()
    .replace(/^KILN_(?:EXECUTOR_)?/, 'EXECUTOR_');
  const most = name.startsWith('EXECUTOR_') ? longestSlip : longestForeignSlip;
  const near = known
    .filter((candidate) => candidate.length >= shortestGuessed)
    .filter((candidate) => Math.abs(candidate.length - written.length) <= most)
    .map((candidate) => ({ candidate, slips: editDistance(candidate, written) }))
    .filter(({ slips }) => slips <= most)
    .sort((a, b) => a.slips - b.slips);
  return near[0]?.candidate;
}
