import type { Isolation } from '@kiln/protocol';
import type { Database } from '../../database/index.ts';

/** How executors isolate jobs: remembered from the heartbeats of this process, else read from their rows. */
export interface Isolations {
  get(name: string): Promise<Isolation | null>;
  set(name: string, isolation: Isolation | null): void;
}

const maxRemembered = 10_000;
/** An executor whose heartbeats reach another instance may have none at first, or another one after an update. */
const rememberedMs = 30_000;

export function createIsolations(database: Database): Isolations {
  const remembered = new Map<string, { isolation: Isolation | null; until: number }>();

  function set(name: string, isolation: Isolation | null): void {
    remembered.delete(name);
    remembered.set(name, { isolation, until: performance.now() + rememberedMs });
    if (remembered.size <= maxRemembered) return;
    const [oldest] = remembered.keys();
    if (oldest !== undefined) remembered.delete(oldest);
  }

  return {
    set,
    async get(name) {
      const known = remembered.get(name);
      if (known && known.until > performance.now()) return known.isolation;
      const [row] = await database.query<{ isolation: Isolation | null }>(
        { name: 'executor_isolation', text: 'select isolation from executors where name = $1' },
        [name],
      );
      set(name, row?.isolation ?? null);
      return row?.isolation ?? null;
    },
  };
}
