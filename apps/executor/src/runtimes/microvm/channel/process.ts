import { commandPayload, type GuestCommand, readExit, readFailure } from './command.ts';
import { brokenProtocol, guestFrame, hostFrame } from './frames.ts';
import { GuestError } from './guest-error.ts';
import { InputFlow } from './input-flow.ts';
import type { Link } from './link.ts';
import { OutputFlow } from './output-flow.ts';

export interface GuestProcess {
  /** After all output was handed over. Rejects when the channel ends first, or with what `output.write` threw. */
  readonly exit: Promise<{ code: number } | { signal: string }>;
  /** Standard input, with back-pressure. What a command does not read before it ends is dropped. */
  write(bytes: Uint8Array): Promise<void>;
  end(): void;
  /** KILL takes all that the command started and that stayed in its control group; the others its process group. */
  kill(signal: 'KILL' | 'TERM' | 'INT' | 'HUP'): void;
  resize(rows: number, columns: number): void;
}

const startSeconds = 60;
const signalNumbers = { HUP: 1, INT: 2, KILL: 9, TERM: 15 } as const;

/**
 * @param signal kills the command when it aborts
 * @throws GuestError when it cannot be started; the signal's reason
 */
export async function startProcess(
  link: Link,
  command: GuestCommand,
  signal?: AbortSignal,
): Promise<GuestProcess> {
  signal?.throwIfAborted();
  const payload = commandPayload(command);
  const started = Promise.withResolvers<void>();
  const exit = Promise.withResolvers<{ code: number } | { signal: string }>();
  // Whoever does not wait for the exit is not to be ended by it.
  exit.promise.catch(() => undefined);
  let running = true;
  let hasStarted = false;
  const ended = () => {
    running = false;
    input.close();
    link.release(stream);
    signal?.removeEventListener('abort', kill);
  };
  const output = new OutputFlow(
    link,
    () => stream,
    async (type, bytes) => {
      try {
        await command.output?.write(type === guestFrame.output ? 'stdout' : 'stderr', bytes);
      } catch (error) {
        kill();
        throw error;
      }
    },
  );
  const stream: number = link.open({
    frame(type, bytes) {
      const isStart = type === guestFrame.started || type === guestFrame.failed;
      if (isStart === hasStarted)
        throw brokenProtocol(
          `a frame of type ${type} ${isStart ? 'after' : 'before'} the start of a command`,
        );
      switch (type) {
        case guestFrame.started:
          hasStarted = true;
          return started.resolve();
        case guestFrame.failed: {
          const why = readFailure(bytes);
          ended();
          return started.reject(why);
        }
        case guestFrame.output:
        case guestFrame.errorOutput:
          return output.push(type, bytes);
        case guestFrame.inputCredit:
          return input.credit(bytes);
        case guestFrame.exit: {
          const status = readExit(bytes);
          ended();
          return void output.taken().then(() => exit.resolve(status), exit.reject);
        }
        default:
          throw brokenProtocol(`a frame of type ${type} for a command`);
      }
    },
    closed(error) {
      ended();
      started.reject(error);
      exit.reject(error);
    },
  });
  const input = new InputFlow(link, stream);
  const send = (type: number, bytes: readonly number[]) => {
    if (running) void link.send(type, stream, Uint8Array.from(bytes));
  };
  const kill = () => send(hostFrame.signal, [signalNumbers.KILL]);

  const late = setTimeout(
    () => link.close(new GuestError(`the VM did not start ${command.argv[0]} within ${startSeconds} s`)),
    startSeconds * 1000,
  );
  signal?.addEventListener('abort', kill, { once: true });
  try {
    void link.send(hostFrame.exec, stream, payload);
    await started.promise;
  } finally {
    clearTimeout(late);
  }
  return {
    exit: exit.promise,
    write: (bytes) => input.write(bytes),
    end: () => input.end(),
    kill: (name) => send(hostFrame.signal, [signalNumbers[name]]),
    resize: (rows, columns) =>
      send(hostFrame.resize, [rows & 255, (rows >> 8) & 255, columns & 255, (columns >> 8) & 255]),
  };
}
