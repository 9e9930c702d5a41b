import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { InstanceError, type InstanceErrorKind, type JobClient } from '../client/index.ts';
import { createOutbox, type JobOutcome } from './index.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-outbox-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const outcome: JobOutcome = {
  id: 7,
  queue: 'jobs',
  attempt: 2,
  token: 'f'.repeat(40),
  executorName: 'old-name',
  kind: 'markErrored',
  errorMessage: 'boom',
  usage: [],
};

/** An outbox whose instance answers the given kinds of failure first, then takes the mark. */
function outboxAgainst(failures: InstanceErrorKind[]) {
  const marks: unknown[] = [];
  const stop = new AbortController();
  const outbox = createOutbox({
    directory,
    clientFor: (job) =>
      ({
        async mark(kind, body) {
          marks.push([job.executorName, job.attempt, kind, body.errorMessage]);
          const failure = failures.shift();
          if (failure !== undefined) throw new InstanceError(failure, failure);
        },
      }) as Pick<JobClient, 'mark'> as JobClient,
    stop: stop.signal,
    log: pino({ level: 'silent' }),
  });
  return { outbox, marks, stop };
}

test('an outcome is on disk, closed to others, until the instance has it', async () => {
  const { outbox, marks } = outboxAgainst([]);
  const posted = await outbox.post(outcome);
  const file = join(directory, 'jobs-7-2.json');
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(outcome);
  expect((await stat(file)).mode & 0o77).toBe(0);
  expect(await posted.deliver()).toBe(true);
  expect(marks).toEqual([['old-name', 2, 'markErrored', 'boom']]);
  expect(await readdir(directory)).toEqual([]);
});

test.each<[InstanceErrorKind[], boolean, number]>([
  [['unreachable', 'unreachable'], true, 3],
  // The first mark had arrived, its answer was lost: the token is dead and the job ended.
  [['unreachable', 'unauthorized'], true, 2],
  [['unreachable', 'gone'], true, 2],
  [['gone'], false, 1],
  [['stale'], false, 1],
  [['rejected'], false, 1],
  [['unauthorized', 'unauthorized'], true, 3],
])('after %j: taken %s, %i calls', async (failures, taken, calls) => {
  const { outbox, marks } = outboxAgainst(failures);
  const posted = await outbox.post(outcome);
  expect(await posted.deliver()).toBe(taken);
  expect(marks).toHaveLength(calls);
  expect(await readdir(directory)).toEqual([]);
});

test('stopped before the instance is back, it leaves the outcome to a successor', async () => {
  const { outbox, stop } = outboxAgainst(Array.from({ length: 1000 }, () => 'unreachable'));
  const delivery = (await outbox.post(outcome)).deliver();
  setTimeout(() => stop.abort(), 100);
  expect(await delivery).toBe(false);
  expect(await readdir(directory)).toEqual(['jobs-7-2.json']);

  const successor = outboxAgainst([]);
  successor.outbox.adopt(join(directory, 'jobs-7-2.json'));
  successor.outbox.adopt(join(directory, 'jobs-7-2.json'));
  await successor.outbox.settled();
  expect(successor.marks).toEqual([['old-name', 2, 'markErrored', 'boom']]);
  expect(await readdir(directory)).toEqual([]);
});

test('a damaged file is dropped', async () => {
  const { outbox, marks } = outboxAgainst([]);
  await writeFile(join(directory, 'jobs-1-1.json'), '{"id":');
  outbox.adopt(join(directory, 'jobs-1-1.json'));
  await outbox.settled();
  expect(marks).toEqual([]);
  expect(await readdir(directory)).toEqual([]);
});
