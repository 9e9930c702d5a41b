import type { Kind } from './kinds.ts';

/** What a variable's default may depend on. */
export interface DefaultFacts {
  platform: NodeJS.Platform;
  onKubernetes: boolean;
  isRoot: boolean;
  homeDirectory: string;
  stateHome: string | undefined;
  temporaryDirectory: string;
}

export type Section =
  | 'Instance'
  | 'Queues and jobs'
  | 'Resources'
  | 'Docker'
  | 'MicroVM'
  | 'This machine'
  | 'Logs and metrics';

/** One environment variable: the only place that knows its name, default, rule and meaning. */
export interface Variable<Value> {
  name: string;
  section: Section;
  type: string;
  doc: string;
  /** An older name, read only when `name` is unset. */
  fallback?: string;
  required?: true;
  /** Masked wherever settings are shown. */
  secret?: true;
  default?: string | { from: (facts: DefaultFacts) => string; doc: string };
  parse(text: string): Value;
}

type Details = Pick<Variable<unknown>, 'name' | 'section' | 'doc' | 'fallback' | 'secret'>;

export function optional<Value>(kind: Kind<Value>, details: Details): Variable<Value | undefined> {
  return { ...details, type: kind.type, parse: kind.parse };
}

export function required<Value>(kind: Kind<Value>, details: Details): Variable<Value> {
  return { ...details, required: true, type: kind.type, parse: kind.parse };
}

export function defaulted<Value>(
  kind: Kind<Value>,
  details: Details & Required<Pick<Variable<unknown>, 'default'>>,
): Variable<Value> {
  return { ...details, type: kind.type, parse: kind.parse };
}
