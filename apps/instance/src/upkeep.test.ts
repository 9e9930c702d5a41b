import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
import { DatabaseUnavailableError } from './database/index.ts';
import { startUpkeep } from './upkeep.ts';

let lines: { level: number; task: string; msg: string }[];
const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
beforeEach(() => {
  lines = [];
});

describe('startUpkeep', () => {
  test('runs tasks again and again, also after a failure, and never one beside itself', async () => {
    let runs = 0;
    let atOnce = 0;
    let mostAtOnce = 0;
    const { promise: thrice, resolve } = Promise.withResolvers<void>();
    await using _upkeep = startUpkeep(
      [
        {
          name: 'sweep',
          everySeconds: 0.01,
          async run() {
            mostAtOnce = Math.max(mostAtOnce, ++atOnce);
            await new Promise((done) => setTimeout(done, 30));
            atOnce--;
            if (++runs === 3) resolve();
            if (runs === 1) throw new Error('the first time it fails');
            return runs;
          },
        },
      ],
      log,
    );
    await thrice;
    expect(mostAtOnce).toBe(1);
    expect(lines[0]).toMatchObject({ level: 50, task: 'sweep', msg: expect.stringContaining('tried again') });
    expect(lines[1]).toMatchObject({ level: 30, task: 'sweep', done: 2 });
  });

  test('calls nobody for a failure of the database that passes', async () => {
    const { promise: twice, resolve } = Promise.withResolvers<void>();
    let runs = 0;
    await using _upkeep = startUpkeep(
      [
        {
          name: 'sweep',
          everySeconds: 0.01,
          async run() {
            if (++runs === 2) resolve();
            if (runs === 1) throw new DatabaseUnavailableError('it restarts');
            return 0;
          },
        },
      ],
      log,
    );
    await twice;
    expect(lines).toMatchObject([{ level: 40, task: 'sweep' }]);
  });

  test('stops a task that runs, and waits for it', async () => {
    let stopped = false;
    const { promise: started, resolve } = Promise.withResolvers<void>();
    const upkeep = startUpkeep(
      [
        {
          name: 'long',
          everySeconds: 0.01,
          async run(signal) {
            resolve();
            await new Promise((done) => signal.addEventListener('abort', done));
            stopped = true;
            return 0;
          },
        },
        { name: 'later', everySeconds: 3600, run: async () => 1 },
      ],
      log,
    );
    await started;
    await upkeep[Symbol.asyncDispose]();
    expect(stopped).toBe(true);
    expect(lines).toEqual([]);
  });
});
