import type { JobLog } from './job-log.ts';

/**
 * Shows commands and what they print to the person who waits for them, where there is no job to keep a log of.
 * @param write bytes as they come; lines of different commands do not mix, since there is one command at a time
 */
export function createPrintedLog(write: (text: string | Uint8Array) => void): Pick<JobLog, 'begin'> {
  return {
    begin(key, command) {
      write(`${key}: ${command.join(' ')}\n`);
      return {
        async write(_stream, bytes) {
          write(bytes);
        },
        note: (line) => write(`${line}\n`),
        end(exitCode) {
          if (exitCode !== 0) write(`${key}: ended with exit code ${exitCode}\n`);
        },
      };
    },
  };
}
