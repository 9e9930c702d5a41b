import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';

/** Which executors are being drained, for dequeues and held heartbeats, which cannot ask the database each time. */
export interface Draining extends AsyncDisposable {
  has(name: string): boolean;
  watch(name: string, onChange: () => void): Disposable;
  /** Reads the table again. */
  refresh(): Promise<void>;
  /** After the commit; tells the other instances too. */
  changed(name: string, draining: boolean): Promise<void>;
}

const channel = 'kiln_executors';

export async function openDraining(database: Database, log: Logger): Promise<Draining> {
  let names: ReadonlySet<string> = new Set();
  const watchers = new Map<string, Set<() => void>>();
  let reading: Promise<void> = Promise.resolve();
  /** By this process. */
  let changes = 0;

  async function read(): Promise<void> {
    let rows: { name: string }[];
    let changesBefore: number;
    do {
      changesBefore = changes;
      rows = await database.query<{ name: string }>('select name from executors where draining');
      // What was read may be older than a change that came meanwhile.
    } while (changes !== changesBefore);
    const before = names;
    names = new Set(rows.map(({ name }) => name));
    for (const [name, ofName] of watchers) {
      if (before.has(name) !== names.has(name)) for (const onChange of ofName) onChange();
    }
  }

  /** One after the other, so that an earlier state never overwrites a later one. */
  function refresh(): Promise<void> {
    reading = reading.then(read).catch((err: unknown) => {
      log.warn({ err }, 'could not read which executors are draining; the next heartbeat of each tells it');
    });
    return reading;
  }

  const listening = await database.listen(channel, refresh, refresh);
  // After listening began, so that no change is missed.
  await read();

  return {
    has: (name) => names.has(name),
    refresh,
    watch(name, onChange) {
      const ofName = watchers.get(name) ?? new Set();
      watchers.set(name, ofName);
      ofName.add(onChange);
      return {
        [Symbol.dispose]() {
          ofName.delete(onChange);
          if (ofName.size === 0 && watchers.get(name) === ofName) watchers.delete(name);
        },
      };
    },
    async changed(name, draining) {
      changes += 1;
      const changed = new Set(names);
      if (draining) changed.add(name);
      else changed.delete(name);
      names = changed;
      for (const onChange of watchers.get(name) ?? []) onChange();
      await database.query('select pg_notify($1, $2)', [channel, name.slice(0, 255)]);
    },
    async [Symbol.asyncDispose]() {
      await listening[Symbol.asyncDispose]();
      await reading;
    },
  };
}
