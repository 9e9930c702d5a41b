import { readFileSync } from 'node:fs';
import type { Statement } from './database.ts';

/**
 * Reads the statements of a room from its `.sql` files: `loadStatements(import.meta.url, './sql/', ['claim'])`.
 * Called while a room is composed, not on import.
 */
export function loadStatements<Name extends string>(
  moduleURL: string,
  folder: string,
  names: readonly Name[],
): Record<Name, Statement> {
  const statements: Partial<Record<Name, Statement>> = {};
  for (const name of names) {
    statements[name] = { name, text: readFileSync(new URL(`${folder}${name}.sql`, moduleURL), 'utf8') };
  }
  return statements as Record<Name, Statement>;
}
