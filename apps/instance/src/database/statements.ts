import { readFileSync } from 'node:fs';
import type { Statement } from './database.ts';

const include = /^-- include (\w+\.sql)\n/gm;

/**
 * Reads the statements of a room from its `.sql` files: `loadStatements(import.meta.url, './sql/', ['claim_one'])`.
 * A line `-- include NAME.sql` stands for the text of that file. Called while a room is composed, not on import.
 */
export function loadStatements<Name extends string>(
  moduleURL: string,
  folder: string,
  names: readonly Name[],
): Record<Name, Statement> {
  const read = (file: string): string => readFileSync(new URL(folder + file, moduleURL), 'utf8');
  const statements: Partial<Record<Name, Statement>> = {};
  for (const name of names) {
    const text = read(`${name}.sql`).replace(include, (_line, file: string) => read(file));
    statements[name] = { name, text };
  }
  return statements as Record<Name, Statement>;
}
