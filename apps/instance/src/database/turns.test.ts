import { expect, it } from 'vitest';
import { createTurns } from './turns.ts';

it('lets so many run at once, the others in their order, also after failures', async () => {
  const turns = createTurns(2);
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  const begun: number[] = [];
  const results = ends.map(({ promise }, index) =>
    turns
      .take(() => {
        begun.push(index);
        return promise;
      })
      .then(
        () => 'done',
        () => 'failed',
      ),
  );
  await new Promise((resolve) => setImmediate(resolve));
  expect(begun).toEqual([0, 1]);
  ends[1]?.reject(new Error('as intended'));
  expect(await results[1]).toBe('failed');
  expect(begun).toEqual([0, 1, 2]);
  for (const index of [0, 2, 3, 4]) ends[index]?.resolve();
  expect(await Promise.all(results)).toEqual(['done', 'failed', 'done', 'done', 'done']);
  expect(begun).toEqual([0, 1, 2, 3, 4]);
});
