import type { Logger } from 'pino';
import { isPassingFailure } from '../../database/index.ts';
import type { HiddenConfig } from './hidden-secrets.ts';
import type { SiteConfigValues } from './schema.ts';

/** One reading of the site configuration. */
export interface ReadConfig {
  /** Differs from that of every other text that was read. */
  identity: string;
  hidden: HiddenConfig;
  values: SiteConfigValues;
}

/** A configuration that is read again and again; the last one that could be read is in force. */
export interface Followed {
  current(): ReadConfig;
  /** Resolves when a reading that began after the call is over. A failure is logged, once. */
  reload(): Promise<void>;
  /** Resolves when nothing is being read any more. */
  settled(): Promise<void>;
}

/** @param read given what is in force; returns that itself when nothing has changed */
export function follow(
  first: ReadConfig,
  read: (inForce: ReadConfig) => Promise<ReadConfig>,
  log: Logger,
): Followed {
  let inForce = first;
  let reportedProblem: string | undefined;
  let reading = Promise.resolve();
  /** A reading that is waiting for the one in progress; whoever asks meanwhile shares it. */
  let next: Promise<void> | undefined;

  async function readOnce(): Promise<void> {
    next = undefined;
    try {
      const before = inForce;
      inForce = await read(before);
      reportedProblem = undefined;
      if (inForce !== before)
        log.info({ config: inForce.identity }, 'applied the changed site configuration');
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== reportedProblem) {
        const level = isPassingFailure(error) ? 'warn' : 'error';
        log[level](
          { problem },
          'the site configuration could not be read again; the previous one stays in force',
        );
      }
      reportedProblem = problem;
    }
  }

  return {
    current: () => inForce,
    reload() {
      next ??= reading = reading.then(readOnce);
      return next;
    },
    settled: () => reading,
  };
}
