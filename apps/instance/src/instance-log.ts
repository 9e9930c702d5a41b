import { destination, type Logger, pino, stdSerializers } from 'pino';

/**
 * The instance's log: JSON lines on standard error (standard output belongs to the command that started it). Requests
 * are logged without headers and bodies; what may carry a credential is taken out in any case.
 */
export function createLog(level: string): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: [
          'authorization',
          '*.authorization',
          '*.headers.authorization',
          'token',
          '*.token',
          'accessToken',
          '*.accessToken',
        ],
        censor: '[redacted]',
      },
      serializers: { err: stdSerializers.errWithCause },
    },
    destination({ fd: 2, sync: true }),
  );
}
