import type { Logger } from 'pino';
import { DatabaseUnavailableError } from '../database/index.ts';

export interface GroupOptions<Call, Result> {
  /** One statement for all calls; results in the order of the calls. */
  run: (calls: Call[]) => Promise<Result[]>;
  /** Calls with the same target never go into one statement, unless they are the same call. */
  targetOf: (call: Call) => number;
  /** Calls with the same identity share one result. */
  identityOf: (call: Call) => string;
  /** Statements at once; by default two, so that one may run beside one that waits for a row lock. */
  maxStatements?: number;
  /** Failures that every call of the group would meet again if it were alone. */
  failsTogether?: (error: unknown) => boolean;
  log: Logger;
}

export interface Group<Call, Result> {
  add(call: Call): Promise<Result>;
}

interface Entry<Call, Result> {
  call: Call;
  settled: PromiseWithResolvers<Result>;
}

const maxCallsPerStatement = 200;
const maxSinglesAtOnce = 6;

/**
 * Collects calls while a statement is under way and sends them together with the next: many calls share one round
 * trip and one commit. A single call is sent at once, and is answered only after its commit.
 */
export function createGroup<Call, Result>(options: GroupOptions<Call, Result>): Group<Call, Result> {
  const { run, targetOf, identityOf, maxStatements = 2, failsTogether = () => false, log } = options;
  let pending = new Map<string, Entry<Call, Result>>();
  let statements = 0;
  let scheduled = false;

  return {
    add(call) {
      const identity = identityOf(call);
      const same = pending.get(identity);
      if (same) return same.settled.promise;
      const entry = { call, settled: Promise.withResolvers<Result>() };
      pending.set(identity, entry);
      schedule();
      return entry.settled.promise;
    },
  };

  /** After the present turn of the event loop, in which more calls may arrive. */
  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (statements < maxStatements && pending.size > 0) void flush();
    });
  }

  async function flush(): Promise<void> {
    const entries = take();
    statements++;
    try {
      await settle(entries);
    } finally {
      statements--;
      if (pending.size > 0) schedule();
    }
  }

  function take(): Entry<Call, Result>[] {
    const targets = new Set<number>();
    const taken: Entry<Call, Result>[] = [];
    const left = new Map<string, Entry<Call, Result>>();
    for (const [identity, entry] of pending) {
      const target = targetOf(entry.call);
      if (taken.length < maxCallsPerStatement && !targets.has(target)) {
        targets.add(target);
        taken.push(entry);
      } else left.set(identity, entry);
    }
    pending = left;
    // The same order in every instance, so that two statements lock common rows in the same order.
    return taken.sort((a, b) => targetOf(a.call) - targetOf(b.call));
  }

  async function settle(entries: Entry<Call, Result>[]): Promise<void> {
    try {
      const results = await run(entries.map(({ call }) => call));
      for (const [index, entry] of entries.entries()) {
        // Results come in the order of the calls; a missing one is a defect of the statement.
        if (index in results) entry.settled.resolve(results[index] as Result);
        else entry.settled.reject(new Error('A grouped statement left a call without an answer.'));
      }
    } catch (error) {
      if (entries.length === 1 || error instanceof DatabaseUnavailableError || failsTogether(error)) {
        for (const entry of entries) entry.settled.reject(error);
        return;
      }
      // One row that somebody holds, or one value that Postgres refuses, must not fail the others.
      log.debug(
        { err: error, calls: entries.length },
        'a grouped statement failed; running its calls one by one',
      );
      for (let start = 0; start < entries.length; start += maxSinglesAtOnce) {
        await Promise.all(entries.slice(start, start + maxSinglesAtOnce).map((entry) => settle([entry])));
      }
    }
  }
}
