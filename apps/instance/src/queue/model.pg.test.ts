import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createQueue } from './create-queue.ts';
import type { Queue } from './queue.ts';
import { commandArbitraries, type System } from './testing/model-commands.ts';
import { forever, startQueueKit } from './testing/queue-kit.ts';
import { QueueModel } from './testing/queue-model.ts';

const log = pino({ level: 'silent' });
const timeLimitMilliseconds = 60_000;
/** A failure prints its seed and path; KILN_MODEL_SEED runs with another one, or the same again. */
const seed = Number(process.env['KILN_MODEL_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Each on a database of its own: while one waits for Postgres, the others go on. */
const shards = 3;

describe('the queue behaves as its model', () => {
  it(
    `in any order of commands (seed ${seed})`,
    async () => {
      const runs = await Promise.all(Array.from({ length: shards }, (_, shard) => checkShard(seed + shard)));
      const total = (what: 'sequences' | 'commands') => runs.reduce((sum, run) => sum + run[what], 0);
      process.stdout.write(
        `model of the queue: ${total('sequences')} sequences of ${total('commands')} commands, seed ${seed}\n`,
      );
      expect(total('commands')).toBeGreaterThan(1000);
    },
    timeLimitMilliseconds * 3,
  );
});

async function checkShard(shardSeed: number): Promise<{ sequences: number; commands: number }> {
  await using kit = await startQueueKit();
  const open = () => createQueue({ database: kit.database, log, sweeping: false });
  const instances: Queue[] = [await open(), await open()];
  const done = { sequences: 0, commands: 0 };
  const counted = commandArbitraries.map((arbitrary) =>
    arbitrary.map((command) => ({
      check: command.check.bind(command),
      toString: command.toString.bind(command),
      run: (model: QueueModel, system: System) => {
        done.commands++;
        return command.run(model, system);
      },
    })),
  );
  await fc.assert(
    fc.asyncProperty(fc.commands(counted, { maxCommands: 40, size: 'max' }), async (sequence) => {
      done.sequences++;
      await kit.clear();
      const model = new QueueModel();
      const system: System = {
        kit,
        instances,
        runs: [],
        fairness: new Map(),
        async replaceInstance(index) {
          await instances[index]?.[Symbol.asyncDispose]();
          instances[index] = await open();
        },
      };
      await fc.asyncModelRun(() => ({ model, real: system }), sequence);
      await drain(model, system);
    }),
    { seed: shardSeed, numRuns: 2000, interruptAfterTimeLimit: timeLimitMilliseconds },
  );
  for (const queue of instances) await queue[Symbol.asyncDispose]();
  return done;
}

/** Nothing is lost: with an executor that does its work, every job ends. */
async function drain(model: QueueModel, { kit, instances }: System): Promise<void> {
  const open = new Set(model.jobs.filter((job) => job.finishedAt === null).map((job) => job.id));
  await kit.jump(100_000);
  await kit.sweep();
  for (let round = 0; open.size > 0 && round < 4; round++) {
    await kit.pass(60);
    for (const queue of ['batches', 'jobs'] as const) {
      const claims = await Promise.all(
        Array.from({ length: open.size }, (_, index) =>
          instances[index % 2]?.dequeue({
            executorName: 'last',
            queues: [queue],
            limits: true,
            confirm: false,
            waitSeconds: 0,
            signal: forever,
          }),
        ),
      );
      for (const claim of claims) {
        if (!claim) continue;
        expect(open.has(claim.id)).toBe(true);
        expect(
          await instances[0]?.mark(
            { jobId: claim.id, executorName: 'last', attempt: claim.attempt },
            'complete',
            '',
            [],
          ),
        ).toEqual({ state: 'completed', repeated: false });
        open.delete(claim.id);
      }
    }
    const ended = await kit.database.query<{ id: number }>(
      'select id from jobs where finished_at is not null',
    );
    for (const { id } of ended) open.delete(id);
  }
  expect([...open]).toEqual([]);
  expect(await kit.database.query('select from lanes where waiting > 0')).toEqual([]);
}
