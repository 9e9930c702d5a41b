/** Remembers what was found, and joins those who ask for the same at the same time. Failures are not remembered. */
export interface PromiseCache<Value> {
  /** `undefined`: not found; asked again next time. */
  get(key: string, find: () => Promise<Value | undefined>): Promise<Value | undefined>;
  clear(): void;
}

/** Starts over when it holds `maxEntries`: the keys come from outside. */
export function createPromiseCache<Value>(maxEntries: number): PromiseCache<Value> {
  const entries = new Map<string, Promise<Value | undefined>>();
  return {
    get(key, find) {
      const known = entries.get(key);
      if (known) return known;
      if (entries.size >= maxEntries) entries.clear();
      const finding = find();
      const drop = () => {
        if (entries.get(key) === finding) entries.delete(key);
      };
      finding.then((value) => value === undefined && drop(), drop);
      entries.set(key, finding);
      return finding;
    },
    clear: () => entries.clear(),
  };
}
