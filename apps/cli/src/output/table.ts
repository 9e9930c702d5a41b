import { oneLine } from './terminal-text.ts';

/** Columns separated by two spaces, each as wide as its widest cell; the last one is not padded. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [heading, ...rows.map((row) => row.map(oneLine))];
  const widths = heading.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/** `name: value` lines with the values in one column; pairs without a value are left out. */
export function facts(
  pairs: readonly (readonly [name: string, value: string | null | undefined])[],
): string[] {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.max(0, ...shown.map(([name]) => name.length)) + 2;
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width)}${value}`);
}
