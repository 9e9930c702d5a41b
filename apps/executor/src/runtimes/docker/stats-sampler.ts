import { z } from 'zod';
import type { CgroupUsage } from './cgroup-usage.ts';
import { type Engine, enginePath } from './engine.ts';

const statsSchema = z.object({
  cpu_stats: z.object({ cpu_usage: z.object({ total_usage: z.number() }) }),
  memory_stats: z.object({ usage: z.number().optional(), max_usage: z.number().optional() }),
});

/** Steps are short more often than long: the first sample comes early, later ones each second. */
const firstSampleMilliseconds = 100;
const maxIntervalMilliseconds = 1000;

export interface StatsSampler {
  /** Ends the sampling. The figures are those of the last sample before the container's end, so a little low. */
  stop(): CgroupUsage;
}

/** Asks the daemon for a running container's usage, where its control group cannot be read. */
export function sampleStats(engine: Engine, container: string): StatsSampler {
  const stopped = new AbortController();
  const seen: { cpuSeconds?: number; peakMemoryBytes?: number } = {};
  let interval = firstSampleMilliseconds;
  let timer = setTimeout(sample, interval);

  function sample(): void {
    engine
      .json(
        {
          method: 'GET',
          path: `/containers${enginePath(container)}/stats`,
          query: { stream: 'false', 'one-shot': 'true' },
          deadlineSeconds: 10,
          signal: stopped.signal,
        },
        statsSchema,
      )
      .then(
        ({ cpu_stats, memory_stats }) => {
          const cpuSeconds = cpu_stats.cpu_usage.total_usage / 1e9;
          const memory = memory_stats.max_usage ?? memory_stats.usage;
          // An ended container answers zeros.
          seen.cpuSeconds = Math.max(seen.cpuSeconds ?? 0, cpuSeconds);
          if (memory !== undefined) seen.peakMemoryBytes = Math.max(seen.peakMemoryBytes ?? 0, memory);
        },
        // Figures are welcome, not needed: the step's own calls report a daemon that is gone.
        () => undefined,
      )
      .finally(() => {
        if (stopped.signal.aborted) return;
        interval = Math.min(interval * 2, maxIntervalMilliseconds);
        timer = setTimeout(sample, interval);
      });
  }

  return {
    stop() {
      clearTimeout(timer);
      stopped.abort();
      return seen;
    },
  };
}
