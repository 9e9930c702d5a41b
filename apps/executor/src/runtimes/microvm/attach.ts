import { connectGuest } from './channel/index.ts';
import type { ControlAddress } from './vmm/index.ts';

/** What somebody wants in a running VM. */
export interface AttachedSession {
  argv: readonly string[];
  /** A pseudo-terminal for the command, fed from this one. */
  terminal:
    | {
        size(): { rows: number; columns: number };
        take(onBytes: (bytes: Uint8Array) => void, onResize: () => void): () => void;
      }
    | undefined;
  write(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  /** For the connection; the command then runs as long as it wants. */
  signal: AbortSignal;
}

const killed = 137;

/** @returns the command's exit code */
export async function attachToVm(
  { socketPath, vsockPort }: ControlAddress,
  session: AttachedSession,
): Promise<number> {
  await using channel = await connectGuest(socketPath, { signal: session.signal, vsockPort });
  const { terminal } = session;
  const running = await channel.exec({
    argv: session.argv,
    output: { write: async (stream, bytes) => session.write(stream, bytes) },
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', TERM: 'xterm' },
    cwd: '/work',
    ...(terminal === undefined ? {} : { terminal: terminal.size() }),
  });
  let giveBack: (() => void) | undefined;
  if (terminal === undefined) running.end();
  else
    giveBack = terminal.take(
      // A shell that has ended takes no more: its exit tells.
      (bytes) => void running.write(bytes).catch(() => undefined),
      () => {
        const { rows, columns } = terminal.size();
        running.resize(rows, columns);
      },
    );
  try {
    const how = await running.exit;
    return 'code' in how ? how.code : killed;
  } finally {
    giveBack?.();
  }
}
