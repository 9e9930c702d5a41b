import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { DatabaseUnavailableError } from '../database/index.ts';
import { createGroup, rowHeld } from './grouping.ts';

interface Call {
  target: number;
  what: string;
}

const log = pino({ level: 'silent' });

describe('a group', () => {
  type Answer = (calls: Call[], waits: boolean) => Promise<(string | typeof rowHeld)[]>;

  function startGroup(answer: Answer = async (calls) => calls.map(textOf)) {
    const statements: Call[][] = [];
    const group = createGroup<Call, string>({
      run: (calls, waits) => {
        statements.push(calls);
        return answer(calls, waits);
      },
      targetOf: ({ target }) => target,
      identityOf: textOf,
      log,
    });
    return { statements, add: (target: number, what = 'touch') => group.add({ target, what }) };
  }

  it('sends calls of one moment together, in the order of their targets', async () => {
    const { statements, add } = startGroup();
    expect(await Promise.all([add(3), add(1), add(2)])).toEqual(['touch 3', 'touch 1', 'touch 2']);
    expect(statements.map((calls) => calls.map(({ target }) => target))).toEqual([[1, 2, 3]]);
  });

  it('makes one of equal calls, and never puts two different ones of a target into a statement', async () => {
    const { statements, add } = startGroup();
    await Promise.all([add(1), add(1), add(1, 'mark'), add(2)]);
    expect(statements.map((calls) => calls.map(textOf))).toEqual([['touch 1', 'touch 2'], ['mark 1']]);
  });

  it('collects what comes while statements are under way', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { statements, add } = startGroup(async (calls) => {
      await promise;
      return calls.map(textOf);
    });
    const answers = [];
    for (let target = 1; target <= 20; target++) {
      answers.push(add(target));
      await new Promise((next) => setImmediate(next));
    }
    expect(statements.length).toBe(2);
    resolve();
    await Promise.all(answers);
    expect(statements.length).toBe(3);
  });

  it('runs calls one by one when their statement fails, so that one cannot fail the others', async () => {
    const { add } = startGroup(async (calls) => {
      if (calls.some(({ target }) => target === 2)) throw new Error('the row is held');
      return calls.map(textOf);
    });
    const results = await Promise.allSettled([add(1), add(2), add(3)]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('fails all calls at once when there is no database', async () => {
    const { statements, add } = startGroup(async () => {
      throw new DatabaseUnavailableError('gone');
    });
    const results = await Promise.allSettled([add(1), add(2)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(statements.length).toBe(1);
  });

  it('passes over calls whose row is held, and lets them wait alone in the end', async () => {
    const free = Promise.withResolvers<void>();
    const { add } = startGroup(async (calls, waits) => {
      if (waits) await free.promise;
      return calls.map((call) => (call.target === 2 && !waits ? rowHeld : textOf(call)));
    });
    const held = add(2);
    for (let round = 0; round < 20; round++) {
      expect(await Promise.all([add(1), add(3)])).toEqual(['touch 1', 'touch 3']);
      await new Promise((next) => setTimeout(next, 10));
    }
    free.resolve();
    expect(await held).toBe('touch 2');
  });

  it('gives a call whose row was held for a moment its own result', async () => {
    let times = 0;
    const { statements, add } = startGroup(async (calls) =>
      calls.map((call) => (call.target === 2 && times++ === 0 ? rowHeld : textOf(call))),
    );
    expect(await Promise.all([add(1), add(2), add(2, 'mark')])).toEqual(['touch 1', 'touch 2', 'mark 2']);
    expect(statements.length).toBe(3);
  });

  it('rejects a call that the statement left without an answer', async () => {
    const { add } = startGroup(async () => []);
    await expect(add(1)).rejects.toThrow(/without an answer/);
  });
});

function textOf({ target, what }: Call): string {
  return `${what} ${target}`;
}
