export interface Watchers {
  watch(jobId: number, onChange: () => void): Disposable;
  notify(jobIds: readonly number[]): void;
  /** Notifications may have been missed: anything may have changed. */
  notifyAll(): void;
}

/** Who in this process wants to know of changes of which job. */
export function createWatchers(): Watchers {
  const byJob = new Map<number, Set<() => void>>();
  return {
    watch(jobId, onChange) {
      // A function of its own for each watch, so that the same one may watch twice.
      const call = () => onChange();
      const calls = byJob.get(jobId) ?? new Set();
      byJob.set(jobId, calls);
      calls.add(call);
      return {
        [Symbol.dispose]() {
          calls.delete(call);
          if (calls.size === 0 && byJob.get(jobId) === calls) byJob.delete(jobId);
        },
      };
    },
    notify(jobIds) {
      if (byJob.size === 0) return;
      for (const jobId of jobIds) {
        const calls = byJob.get(jobId);
        if (calls) for (const call of [...calls]) call();
      }
    },
    notifyAll() {
      for (const calls of [...byJob.values()]) for (const call of [...calls]) call();
    },
  };
}
