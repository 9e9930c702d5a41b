import type { Logger } from 'pino';
import { createTurns, DatabaseUnavailableError, type Statement } from '../database/index.ts';

/** In place of a result: somebody holds a row that the call needs. */
export const rowHeld = Symbol('row held');

export interface GroupOptions<Call, Result> {
  /**
   * One statement for all calls; results in the order of the calls. Without `waits` it does not wait for rows that
   * somebody holds, but says so of the calls that need them.
   */
  run: (calls: Call[], waits: boolean) => Promise<(Result | typeof rowHeld)[]>;
  /** Calls with the same target never go into one statement, unless they are the same call. */
  targetOf: (call: Call) => number;
  /** Calls with the same identity share one result. */
  identityOf: (call: Call) => string;
  /** Statements at once; by default two. */
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
  /** How often a row that it needs was held by somebody. */
  held: number;
}

const maxCallsPerStatement = 200;
const maxSinglesAtOnce = 6;
/** Rows are mostly held for the time of a commit. */
const heldPauses = [5, 20, 80] as const;
/** After that calls wait in the database, which keeps their order, with this many connections. */
const maxWaiting = 2;

/**
 * Collects calls while a statement is under way and sends them together with the next: many calls share one round
 * trip and one commit. A single call is sent at once, and is answered only after its commit.
 */
export function createGroup<Call, Result>(options: GroupOptions<Call, Result>): Group<Call, Result> {
  const { run, targetOf, identityOf, maxStatements = 2, failsTogether = () => false, log } = options;
  const waitingTurns = createTurns(maxWaiting);
  let pending = new Map<string, Entry<Call, Result>>();
  let statements = 0;
  let scheduled = false;

  return {
    add(call) {
      const identity = identityOf(call);
      const same = pending.get(identity);
      if (same) return same.settled.promise;
      const entry = { call, settled: Promise.withResolvers<Result>(), held: 0 };
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
      const results = await run(
        entries.map(({ call }) => call),
        false,
      );
      for (const [index, entry] of entries.entries()) finish(entry, results, index);
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

  function finish(entry: Entry<Call, Result>, results: (Result | typeof rowHeld)[], index: number): void {
    const result = results[index];
    if (result === rowHeld) again(entry);
    else if (index in results) entry.settled.resolve(result as Result);
    // Results come in the order of the calls; a missing one is a defect of the statement.
    else entry.settled.reject(new Error('A grouped statement left a call without an answer.'));
  }

  /** Later, with the others that come until then; in the end alone, as long as the database lets it wait. */
  function again(entry: Entry<Call, Result>): void {
    const pause = heldPauses[entry.held++];
    if (pause === undefined) {
      waitingTurns
        .take(() => run([entry.call], true))
        .then((results) => finish(entry, results, 0))
        .catch((error: unknown) => entry.settled.reject(error));
      return;
    }
    setTimeout(() => {
      const identity = identityOf(entry.call);
      const same = pending.get(identity);
      if (same) entry.settled.resolve(same.settled.promise);
      else pending.set(identity, entry);
      schedule();
    }, pause);
  }
}

/** The statement that waits for rows that somebody holds, of one that passes them over. */
export function waiting({ name, text }: Statement): Statement {
  return { name: `${name}_waiting`, text: text.replaceAll(' skip locked', '') };
}
