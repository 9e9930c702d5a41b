import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isPassingFailure } from './database/index.ts';

/** Work that is done again and again while the instance runs. */
export interface UpkeepTask {
  name: string;
  everySeconds: number;
  /** @returns how much was done, for the log; stops early when `signal` aborts */
  run(signal: AbortSignal): Promise<number>;
}

/** The first run of a task comes this early, so that an instance that is restarted often still does it. */
const firstRunSeconds = 60;

/**
 * Runs tasks at their intervals, each one never beside itself, until disposed. A task that fails is logged and tried
 * again at its next turn. Times vary by a quarter, so that instances that were started together do not act together.
 */
export function startUpkeep(tasks: readonly UpkeepTask[], log: Logger): AsyncDisposable {
  const stopping = new AbortController();
  const { signal } = stopping;
  const running = tasks.map((task) => keepUp(task, signal, log));
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

async function keepUp(
  { name, everySeconds, run }: UpkeepTask,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  let seconds = Math.min(firstRunSeconds, everySeconds);
  while (await waited(seconds * (0.75 + Math.random() / 2), signal)) {
    try {
      const done = await run(signal);
      if (done > 0) log.info({ task: name, done }, 'upkeep');
    } catch (err) {
      // A database that restarts heals by itself: nobody needs to act.
      const level = isPassingFailure(err) ? 'warn' : 'error';
      if (!signal.aborted)
        log[level]({ err, task: name }, 'upkeep failed; it is tried again at its next turn');
    }
    seconds = everySeconds;
  }
}

/** @returns false when it was interrupted */
async function waited(seconds: number, signal: AbortSignal): Promise<boolean> {
  try {
    await delay(seconds * 1000, undefined, { signal, ref: false });
    return true;
  } catch {
    return false;
  }
}
