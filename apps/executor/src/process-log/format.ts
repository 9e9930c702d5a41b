import type { LogFormat } from './process-log.ts';

/** Turns pino's JSON line into the form asked for. */
export function formatLine(line: string, format: LogFormat): string {
  if (format === 'json') return line;
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const pairs = Object.entries(fields).map(([key, value]) => `${key}=${quote(value)}`);
  const head =
    format === 'condensed'
      ? [String(level).toUpperCase(), String(msg ?? '')]
      : [`t=${String(time)}`, `lvl=${String(level)}`, `msg=${quote(msg ?? '')}`];
  return `${[...head, ...pairs].join(' ')}\n`;
}

function quote(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}
