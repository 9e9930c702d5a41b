import { Counter, Histogram, type Registry } from 'prom-client';

/** How often something is done, how long it takes and how often it fails: three metrics of one prefix, by what is done. */
export interface Operations {
  /** Counts something that has been done. */
  done(op: string, seconds: number, failed: boolean): void;
  /** Does something, and counts and times it. */
  observe<Result>(op: string, work: () => Promise<Result>): Promise<Result>;
}

export interface OperationsOptions {
  registry: Registry;
  /** `<prefix>_duration_seconds`, `<prefix>_total` and `<prefix>_errors_total`. */
  prefix: string;
  /** What is done, in words for the help texts. */
  what: string;
  buckets?: number[];
  /** The same on every sample. */
  labels?: Readonly<Record<string, string>>;
}

export function createOperations(options: OperationsOptions): Operations {
  const { registry, prefix, what, labels = {} } = options;
  const common = { labelNames: [...Object.keys(labels), 'op'], registers: [registry] };
  const duration = new Histogram({
    ...common,
    name: `${prefix}_duration_seconds`,
    help: `How long it took, by operation: ${what}.`,
    ...(options.buckets === undefined ? {} : { buckets: options.buckets }),
  });
  const total = new Counter({ ...common, name: `${prefix}_total`, help: `How many: ${what}.` });
  const errors = new Counter({
    ...common,
    name: `${prefix}_errors_total`,
    help: `How many failed: ${what}.`,
  });

  function done(op: string, seconds: number, failed: boolean): void {
    const all = { ...labels, op };
    duration.observe(all, seconds);
    total.inc(all);
    // Zero is told too: a rate of errors needs something to begin from.
    errors.inc(all, failed ? 1 : 0);
  }

  return {
    done,
    async observe(op, work) {
      const startedAt = performance.now();
      let failed = true;
      try {
        const result = await work();
        failed = false;
        return result;
      } finally {
        done(op, (performance.now() - startedAt) / 1000, failed);
      }
    },
  };
}
