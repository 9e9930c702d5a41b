import type { SettingsRead } from './read.ts';
import { variableKeys } from './read.ts';
import type { Section, Variable } from './variable.ts';
import { variables } from './variables.ts';

export interface ShownSetting {
  name: string;
  /** Masked when secret; null when there is none. */
  value: string | null;
  source: string;
}

/** Every setting in force with its source, secrets masked. */
export function showSettings(read: SettingsRead): ShownSetting[] {
  return variableKeys().map((key) => {
    const variable: Variable<unknown> = variables[key];
    const value = read.texts[key];
    return {
      name: variable.name,
      value: value === undefined ? null : variable.secret ? '******' : value,
      source: value === undefined ? 'not set' : read.sources[key],
    };
  });
}

const sections: readonly Section[] = [
  'Instance',
  'Queues and jobs',
  'Resources',
  'Docker',
  'MicroVM',
  'This machine',
  'Logs and metrics',
];

/** The reference documentation of all settings (docs/reference/executor-settings.md), as Markdown. */
export function renderSettingsReference(): string {
  const all: readonly Variable<unknown>[] = Object.values(variables);
  const parts = sections.map((section) => {
    const rows = all.filter((variable) => variable.section === section).map(renderRow);
    return `## ${section}\n\n| Variable | Type | Default | Meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
  });
  return `${introduction}\n${parts.join('\n')}`;
}

const introduction = `# Executor settings

<!-- Made by \`bin/executor config reference\` from apps/executor/src/env/variables.ts: edit there, then write it again. -->

An executor is set up by environment variables alone. \`bin/executor config print\` shows what is in force and where it
came from; \`bin/executor validate\` checks the settings, this machine and the instance.

- A variable that is set but empty counts as not set.
- \`NAME_executor\` overrides \`NAME\` for the executor.
- \`bool\`: \`true\` or \`false\` (also \`1\`, \`t\`, \`T\`, \`TRUE\`, \`True\` and the like). \`duration\`: \`500ms\`, \`30s\`, \`1h15m\`; a number alone
  has no unit and is refused. \`size\`: \`512M\`, \`12G\`, \`20GB\`, powers of 1024.
- All mistakes are reported together, and the program exits with code 1.
`;

function renderRow(variable: Variable<unknown>): string {
  const older = variable.fallback === undefined ? '' : ` Older name: \`${variable.fallback}\`.`;
  return `| \`${variable.name}\` | ${variable.type} | ${renderDefault(variable)} | ${variable.doc}${older} |`;
}

function renderDefault(variable: Variable<unknown>): string {
  if (variable.required) return 'required';
  if (variable.default === undefined) return 'none';
  return typeof variable.default === 'string' ? `\`${variable.default}\`` : variable.default.doc;
}
