import { type Logger, pino } from 'pino';
import { formatLine } from './format.ts';

export type { Logger } from 'pino';

/** The reference's names of the levels. */
export type LogLevel = 'dbug' | 'info' | 'warn' | 'error' | 'crit';
export type LogFormat = 'logfmt' | 'condensed' | 'json';

const levels = { dbug: 'debug', info: 'info', warn: 'warn', error: 'error', crit: 'fatal' } as const;

/**
 * The executor's own log, on standard error; job logs are another thing. Messages are fixed texts, what varies is in
 * the fields. Every line passes `redact` as a whole.
 */
export function createProcessLog(options: {
  level: LogLevel;
  format: LogFormat;
  redact(line: string): string;
  write(line: string): void;
}): Logger {
  const write = (line: string) => options.write(options.redact(formatLine(line, options.format)));
  return pino(
    {
      level: levels[options.level],
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: {
        level: (label) => ({ level: label === 'fatal' ? 'crit' : label === 'debug' ? 'dbug' : label }),
      },
      serializers: {
        error: (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error)),
      },
    },
    { write },
  );
}
