import type { GuestChannel } from './channel/index.ts';

const keptBytes = 64 * 1024;

/** A command of ours in the guest ended badly. */
export class GuestCommandError extends Error {
  override readonly name = 'GuestCommandError';
}

export interface GuestRunOptions {
  /** Kills the command when it aborts. */
  signal?: AbortSignal;
  /** Told of the standard output so far, whenever there is more. */
  hear?(output: string): void;
}

/**
 * Runs one of our own commands in the guest.
 * @returns the beginning of its standard output
 * @throws GuestCommandError quoting what it said; GuestError of the channel
 */
export async function guestRun(
  channel: GuestChannel,
  argv: readonly string[],
  { signal, hear }: GuestRunOptions = {},
): Promise<string> {
  let [output, complaint] = ['', ''];
  const running = await channel.exec(
    {
      argv,
      output: {
        async write(stream, bytes) {
          const text = Buffer.from(bytes).toString('utf8');
          if (stream === 'stderr') complaint = (complaint + text).slice(-2000);
          else if (output.length < keptBytes) {
            output += text;
            hear?.(output);
          }
        },
      },
    },
    signal,
  );
  running.end();
  const how = await running.exit;
  if (!('code' in how) || how.code !== 0) {
    const status = 'code' in how ? `status ${how.code}` : how.signal;
    throw new GuestCommandError(
      `${argv[0]} in the VM ended with ${status}: ${complaint.trim() || output.trim()}`,
    );
  }
  return output;
}

/** Runs a shell script of ours in the guest; parameters are `$1` and so on, never part of its text. */
export function guestScript(
  channel: GuestChannel,
  script: string,
  parameters: readonly string[] = [],
  options: GuestRunOptions = {},
): Promise<string> {
  return guestRun(channel, shellCommand(script, parameters), options);
}

export function shellCommand(script: string, parameters: readonly string[]): string[] {
  return ['/bin/sh', '-euc', script, 'kiln', ...parameters];
}
