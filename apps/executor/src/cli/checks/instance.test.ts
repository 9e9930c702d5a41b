import { expect, test } from 'vitest';
import { type PlainInstance, startPlainInstance } from '../../../../../test/kit/plain-instance.ts';
import { readSettings, thisHost } from '../../env/index.ts';
import { judged } from './clone.ts';
import { checkInstance } from './instance.ts';

async function checksOf(instance: PlainInstance, env: Record<string, string>) {
  const { settings } = readSettings(
    {
      EXECUTOR_FRONTEND_URL: instance.url.href,
      EXECUTOR_FRONTEND_PASSWORD: instance.sharedSecret,
      EXECUTOR_USE_FIRECRACKER: 'false',
      ...env,
    },
    thisHost({}),
  );
  return checkInstance(settings, process.env);
}

test('the queues that are to be served are asked for, and nothing is left at the instance', async () => {
  await using instance = await startPlainInstance();
  const checks = await checksOf(instance, { EXECUTOR_QUEUE_NAMES: 'codeintel,batches' });
  expect(checks.map(({ name, state }) => [name, state])).toEqual([
    ['instance', 'ok'],
    ['clock', 'ok'],
    ['queues', 'ok'],
    ['clone', 'ok'],
  ]);
  expect(checks[2]?.message).toBe('the instance has codeintel, batches');
  // Nobody is named: what a plain instance is told is refused, so no executor appears there.
  const told = instance.requests.filter(({ method }) => method === 'POST');
  expect(told.map(({ body }) => body)).toEqual(told.map(() => ({ executorName: '' })));
});

test('a queue that the instance does not have is named, with those that it has', async () => {
  await using instance = await startPlainInstance();
  const [, , queues] = await checksOf(instance, { EXECUTOR_QUEUE_NAME: 'jobs' });
  expect(queues).toEqual({
    name: 'queues',
    state: 'error',
    message: 'the instance has no queue jobs',
    fix: 'Set EXECUTOR_QUEUE_NAME to one of those it has: batches, codeintel.',
  });
});

test('how the instance answers git tells whether clones will work', () => {
  const states = [200, 404, 401, 403, 500, undefined].map((status) => judged(status, 'fatal: x').state);
  expect(states).toEqual(['ok', 'ok', 'warning', 'warning', 'error', 'error']);
});
