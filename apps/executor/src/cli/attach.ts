import { openMicrovmRuntime } from '../choose-runtime.ts';
import { start } from './start.ts';
import type { CommandSurroundings } from './surroundings.ts';

const connectSeconds = 30;

/** `executor attach NAME`: a shell in a VM that `executor test-vm` has left running, or one command. */
export async function runAttach(
  surroundings: CommandSurroundings,
  name: string,
  command: readonly string[],
): Promise<number> {
  const { out, err, terminal } = surroundings;
  const started = start(surroundings);
  await started.runtime[Symbol.asyncDispose]();
  await using runtime = openMicrovmRuntime(started);
  const isInteractive = command.length === 0;
  if (isInteractive && terminal === undefined) {
    err('a shell needs a terminal; without one give a command: executor attach NAME COMMAND...\n');
    return 1;
  }
  const session = await runtime.attach(name, {
    argv: isInteractive ? ['/bin/sh', '-l'] : command,
    terminal: isInteractive ? terminal : undefined,
    write: (stream, bytes) => (stream === 'stdout' ? out : err)(bytes),
    signal: AbortSignal.timeout(connectSeconds * 1000),
  });
  if (session === undefined) {
    const others = (await runtime.kept()).join(', ') || 'none';
    err(`there is no VM ${JSON.stringify(name)} here; those left running: ${others}\n`);
    return 1;
  }
  return session;
}
