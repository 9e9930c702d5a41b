import { pino } from 'pino';
import { beforeEach, describe, expect, test } from 'vitest';
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
