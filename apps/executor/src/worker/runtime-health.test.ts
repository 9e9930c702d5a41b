import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Finding } from '../runtimes/runtime.ts';
import { watchRuntime } from './runtime-health.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

test('a suspected runtime is looked at before the next job, until it is well again', async () => {
  const broken: Finding = {
    check: 'docker',
    severity: 'error',
    message: 'Docker does not answer',
    fix: 'start it',
  };
  let findings: Finding[] = [broken];
  let looks = 0;
  const health = watchRuntime(
    {
      async validate() {
        looks++;
        return findings;
      },
    },
    pino({ level: 'silent' }),
  );
  expect(await health.pauseSeconds()).toBe(0);
  expect(looks).toBe(0);
  health.suspect();
  expect(await health.pauseSeconds()).toBe(5);
  vi.advanceTimersByTime(5000);
  expect(await health.pauseSeconds()).toBe(5);
  expect(looks).toBe(1);
  // Jobs that end meanwhile do not put the next look off.
  vi.advanceTimersByTime(3000);
  health.suspect();
  expect(await health.pauseSeconds()).toBe(2);
  findings = [{ ...broken, severity: 'warning' }];
  vi.advanceTimersByTime(2000);
  expect(await health.pauseSeconds()).toBe(0);
  expect(looks).toBe(2);
});

test('a look that fails counts as broken', async () => {
  const health = watchRuntime(
    { validate: () => Promise.reject(new Error('no answer')) },
    pino({ level: 'silent' }),
  );
  health.suspect();
  vi.advanceTimersByTime(5000);
  expect(await health.pauseSeconds()).toBe(5);
});
