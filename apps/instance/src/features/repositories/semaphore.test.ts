import { expect, it } from 'vitest';
import { createSemaphore } from './semaphore.ts';

const never = new AbortController().signal;

it('lets in as many as it has places, then in the order of coming', async () => {
  const semaphore = createSemaphore(2);
  const order: string[] = [];
  const first = await semaphore.enter(never);
  const second = await semaphore.enter(never);
  const third = semaphore.enter(never).then((place) => {
    order.push('third');
    return place;
  });
  const fourth = semaphore.enter(never).then((place) => {
    order.push('fourth');
    return place;
  });
  await Promise.resolve();
  expect(order).toEqual([]);
  second[Symbol.dispose]();
  // Given back twice, it is one place still.
  second[Symbol.dispose]();
  const served = await third;
  expect(order).toEqual(['third']);
  first[Symbol.dispose]();
  await fourth;
  expect(order).toEqual(['third', 'fourth']);
  served[Symbol.dispose]();
  await semaphore.enter(never);
});

it('forgets those that give up', async () => {
  const semaphore = createSemaphore(1);
  const held = await semaphore.enter(never);
  const impatient = new AbortController();
  const given = semaphore.enter(impatient.signal);
  const patient = semaphore.enter(never);
  impatient.abort(new Error('gone'));
  await expect(given).rejects.toThrow('gone');
  held[Symbol.dispose]();
  (await patient)[Symbol.dispose]();
  await expect(semaphore.enter(impatient.signal)).rejects.toThrow('gone');
});
