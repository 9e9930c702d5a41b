import type { TerminalInput } from './surroundings.ts';

/** The terminal that this process was started from; undefined when its input is none. */
export function processTerminal(): TerminalInput | undefined {
  const { stdin, stdout } = process;
  if (!stdin.isTTY) return undefined;
  return {
    size: () => ({ rows: stdout.rows ?? 24, columns: stdout.columns ?? 80 }),
    take(onBytes, onResize) {
      stdin.setRawMode(true);
      stdin.on('data', onBytes);
      stdout.on('resize', onResize);
      return () => {
        stdin.off('data', onBytes);
        stdout.off('resize', onResize);
        stdin.setRawMode(false);
        stdin.pause();
      };
    },
  };
}
