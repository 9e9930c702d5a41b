import { expect, test } from 'vitest';
import { type RoundsOptions, startRounds } from './rounds.ts';

const intervalSeconds = 0.005;

function start(tasks: RoundsOptions['tasks']) {
  const told: unknown[] = [];
  let failures = 0;
  const rounds = startRounds({
    tasks,
    intervalSeconds,
    onFailure: () => failures++,
    log: { error: (fields: unknown) => told.push(fields) } as RoundsOptions['log'],
  });
  return { rounds, told, failures: () => failures };
}

test('a task that fails is told and tried again, and holds up no other', async () => {
  const again = Promise.withResolvers<void>();
  let tries = 0;
  let others = 0;
  const failing = async () => {
    if (++tries === 3) again.resolve();
    throw new Error('not now');
  };
  const { rounds, told, failures } = start([failing, async () => void others++]);
  await rounds.first;
  expect(others).toBe(1);
  expect(told).toEqual([{ error: new Error('not now') }]);
  await again.promise;
  await rounds.stop();
  // The third may have been broken off: that is no failure.
  expect(failures()).toBeGreaterThanOrEqual(2);
});

test('rounds do not overlap, and the running one is broken off at the end', async () => {
  let begun = 0;
  const { rounds, told } = start([
    (signal) => {
      begun++;
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
    async () => Promise.reject(new Error('must not run any more')),
  ]);
  await new Promise((resolve) => setTimeout(resolve, 20 * intervalSeconds * 1000));
  expect(begun).toBe(1);
  await rounds.stop();
  await rounds.first;
  expect(begun).toBe(1);
  expect(told).toEqual([]);
});
