/**
 * What a file `bench/NAME.ts` exports for `npm run bench NAME`:
 *
 *     export const about = 'one line for the list of benches';
 *     export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> { ... }
 *
 * `args` are those after NAME; read them with `node:util` parseArgs. `signal` aborts at Ctrl-C; `run` then stops what it
 * has started and rejects. A bench takes its own measures, starts and stops what it needs, and prints nothing itself but
 * progress on stderr.
 */
export interface Bench {
  about: string;
  run(args: string[], signal: AbortSignal): Promise<BenchResult>;
}

export interface BenchResult {
  /** What a reader must know to repeat it: sizes, counts, versions of peers, the settings in force. */
  settings: Record<string, string | number | boolean>;
  measures: Measure[];
  /** Remarks: what is not measured, why a figure is noisy. */
  notes?: string[];
}

export interface Measure {
  name: string;
  value: number;
  /** `MB/s`, `ms`, `jobs/s`, `x`, ... */
  unit: string;
  /** The bound that the project promises; a miss makes the bench end with exit code 1. */
  must?: Bound;
  /** What it would like to reach; a miss is only shown. */
  aim?: Bound;
}

/** A measure is good from `atLeast` on, or up to `atMost`. */
export type Bound = { atLeast: number } | { atMost: number };

export function meets(value: number, bound: Bound): boolean {
  return 'atLeast' in bound ? value >= bound.atLeast : value <= bound.atMost;
}
