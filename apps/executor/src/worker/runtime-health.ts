import type { Logger } from '../process-log/index.ts';
import type { Runtime } from '../runtimes/runtime.ts';

export interface RuntimeHealth {
  /** A job ended badly, or had to be given back, because of the runtime. */
  suspect(): void;
  /**
   * Looks at a suspected runtime.
   * @returns seconds after which to look again; 0: jobs may be taken
   */
  pauseSeconds(): Promise<number>;
}

const pauseSeconds = 5;
const validateSeconds = 20;
const tellSeconds = 60;

/**
 * Keeps an executor whose runtime is broken (a Docker daemon that went away) from taking jobs only to give them back:
 * each time counts for the job, and a short outage would use up the attempts of a whole queue.
 */
export function watchRuntime(runtime: Pick<Runtime, 'validate'>, log: Pick<Logger, 'error'>): RuntimeHealth {
  let lookAt: number | undefined;
  let toldAt = Number.NEGATIVE_INFINITY;
  return {
    suspect() {
      lookAt ??= performance.now() + pauseSeconds * 1000;
    },
    async pauseSeconds() {
      if (lookAt === undefined) return 0;
      const left = (lookAt - performance.now()) / 1000;
      if (left > 0) return left;
      const cause = await whatIsWrong(runtime);
      if (cause === undefined) {
        lookAt = undefined;
        return 0;
      }
      if (performance.now() - toldAt > tellSeconds * 1000) {
        log.error({ cause }, 'taking no jobs: this machine cannot run them now');
        toldAt = performance.now();
      }
      lookAt = performance.now() + pauseSeconds * 1000;
      return pauseSeconds;
    },
  };
}

async function whatIsWrong(runtime: Pick<Runtime, 'validate'>): Promise<string | undefined> {
  try {
    const findings = await runtime.validate(AbortSignal.timeout(validateSeconds * 1000));
    const error = findings.find(({ severity }) => severity === 'error');
    return error && `${error.message} (${error.fix})`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
