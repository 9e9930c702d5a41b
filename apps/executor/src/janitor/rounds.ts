import type { Logger } from '../process-log/index.ts';

export interface RoundsOptions {
  /** What a round does, one after another. One that fails keeps none of the others from its turn. */
  tasks: readonly ((signal: AbortSignal) => Promise<void>)[];
  intervalSeconds: number;
  /** Told of each task that failed. */
  onFailure(): void;
  log: Pick<Logger, 'error'>;
}

export interface Rounds {
  /** Resolves when the first round is over; never fails. */
  readonly first: Promise<void>;
  /** Breaks a round off, and waits for that. */
  stop(): Promise<void>;
}

/** A round that takes longer is broken off: what it could not do waits for the next. */
const roundSeconds = 300;

/** Cleans up now and then in intervals. A round never begins before the one before it is over. */
export function startRounds(options: RoundsOptions): Rounds {
  const { tasks, log } = options;
  const stop = new AbortController();

  async function round(): Promise<void> {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(roundSeconds * 1000)]);
    for (const task of tasks) {
      if (stop.signal.aborted) return;
      try {
        await task(signal);
      } catch (error) {
        if (stop.signal.aborted) return;
        options.onFailure();
        log.error({ error }, 'could not clean up after dead executors; trying again later');
      }
    }
  }

  let running: Promise<void> | undefined;
  const begin = () => {
    running ??= round().finally(() => {
      running = undefined;
    });
    return running;
  };
  const first = begin();
  const timer = setInterval(begin, options.intervalSeconds * 1000);
  return {
    first,
    async stop() {
      clearInterval(timer);
      stop.abort();
      await running;
    },
  };
}
