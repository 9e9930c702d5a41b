import type { Check } from './check.ts';

const glyphs = { ok: '✓', warning: '!', error: '✗' } as const;

/** One line per check: glyph, what was looked at, what was found; below a problem what to do about it. */
export function checksText(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, state, message, fix }) => [
    `${glyphs[state]} ${name.padEnd(width)}  ${message.replace(/\s*\n\s*/g, ' ')}`,
    ...(fix === '' ? [] : [`  ${' '.repeat(width)}  → ${fix}`]),
  ]);
  return `${lines.join('\n')}\n\n${summary(checks)}\n`;
}

function summary(checks: readonly Check[]): string {
  const count = (state: Check['state']): number => checks.filter((check) => check.state === state).length;
  const [fine, warnings, errors] = [count('ok'), count('warning'), count('error')];
  const parts = [
    ...(fine === 0 ? [] : [plural(fine, 'check is fine', 'checks are fine')]),
    ...(warnings === 0 ? [] : [plural(warnings, 'warning', 'warnings')]),
    ...(errors === 0 ? [] : [plural(errors, 'error', 'errors')]),
  ];
  const verdict =
    errors > 0
      ? 'This executor cannot work until the errors are mended.'
      : warnings > 0
        ? 'This executor can work; read the warnings.'
        : 'This executor can work.';
  return `${parts.join(', ')}. ${verdict}`;
}

function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
