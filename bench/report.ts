import { type BenchResult, type Bound, type Measure, meets } from './bench.ts';

/** A bench's result as text: machine, settings, one line per measure beside its bounds, notes. */
export function renderReport(name: string, machine: Record<string, string>, result: BenchResult): string {
  return [
    `bench ${name}`,
    ...section('machine', Object.entries(machine)),
    ...section('settings', Object.entries(result.settings)),
    '',
    ...table([['measure', 'result', 'must', 'aim', ''], ...result.measures.map(row)]),
    ...(result.notes ?? []).flatMap((note) => ['', `note: ${note}`]),
    '',
  ].join('\n');
}

/** Whether every measure is within the bound it must keep. */
export function keepsItsPromises(result: BenchResult): boolean {
  return result.measures.every(({ value, must }) => must === undefined || meets(value, must));
}

function section(title: string, entries: [string, string | number | boolean][]): string[] {
  const width = Math.max(0, ...entries.map(([name]) => name.length));
  return ['', title, ...entries.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
}

function row({ name, value, unit, must, aim }: Measure): string[] {
  return [name, `${figure(value)} ${unit}`, bound(must), bound(aim), verdict(value, must, aim)];
}

function verdict(value: number, must: Bound | undefined, aim: Bound | undefined): string {
  if (must && !meets(value, must)) return 'MISSED';
  if (aim && !meets(value, aim)) return 'below aim';
  return must || aim ? 'ok' : '';
}

function bound(value: Bound | undefined): string {
  if (!value) return '';
  return 'atLeast' in value ? `>= ${figure(value.atLeast)}` : `<= ${figure(value.atMost)}`;
}

/** Three digits are more than any of these measurements is worth, but small shares need their own. */
function figure(value: number): string {
  if (value === 0 || Math.abs(value) >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

function table(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((cells) => (cells[column] ?? '').length)),
  );
  return rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
