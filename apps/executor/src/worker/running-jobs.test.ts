import { expect, test } from 'vitest';
import { createRunningJobs } from './running-jobs.ts';

const job = { id: 7, queue: 'jobs', attempt: 1 } as const;
const unknown = { known: new Set<string>(), cancel: new Set<string>(), drain: false };

test('a job whose outcome is delivered is in no heartbeat, and keeps its slot until nothing is left of it', async () => {
  const jobs = createRunningJobs('single');
  const removed = Promise.withResolvers<void>();
  let stopped = false;
  let reported: (() => void) | undefined;
  jobs.start(job, async (stop, onReported) => {
    stop.addEventListener('abort', () => {
      stopped = true;
    });
    reported = onReported;
    await removed.promise;
  });
  await Promise.resolve();
  expect(jobs.held()).toEqual([job]);
  const asked = jobs.held();
  reported?.();
  expect(jobs.held()).toEqual([]);
  // The answer to a heartbeat that was on its way meanwhile does not know the job any more: nothing is lost by that.
  expect(jobs.obey(asked, unknown)).toEqual([]);
  expect(stopped).toBe(false);
  expect(jobs.count).toBe(1);
  removed.resolve();
  await jobs.fewerThan(1);
  expect(jobs.count).toBe(0);
});

test('a job that the instance does not know is lost', async () => {
  const jobs = createRunningJobs('single');
  const stop = Promise.withResolvers<unknown>();
  jobs.start(job, async (signal) => {
    signal.addEventListener('abort', () => stop.resolve(signal.reason));
    await stop.promise;
  });
  await Promise.resolve();
  expect(jobs.obey(jobs.held(), unknown)).toEqual([{ job, kind: 'lost' }]);
  expect(await stop.promise).toMatchObject({ kind: 'lost' });
});
