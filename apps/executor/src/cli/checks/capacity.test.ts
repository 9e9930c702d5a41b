import { expect, test } from 'vitest';
import { judgeCapacity } from './capacity.ts';

const G = 1024 ** 3;
const sizes = {
  maximumNumJobs: 2,
  jobNumCpus: 4,
  jobMemoryBytes: 12 * G,
  diskSpaceBytes: 20 * G,
  minFreeDiskBytes: 2 * G,
};
const machine = { cpus: 8, memoryBytes: 32 * G, freeDiskBytes: 50 * G, diskDirectory: '/data' };

const states = (of: Partial<typeof sizes>, on: Partial<typeof machine>): Record<string, string> =>
  Object.fromEntries(
    judgeCapacity({ ...sizes, ...of }, { ...machine, ...on }).map(({ name, state }) => [name, state]),
  );

test('a machine that holds all jobs at once is fine', () => {
  expect(states({}, {})).toEqual({ cpus: 'ok', memory: 'ok', disk: 'ok' });
  expect(states({ jobNumCpus: 0, jobMemoryBytes: 0 }, {})).toEqual({ cpus: 'ok', memory: 'ok', disk: 'ok' });
});

test.each([
  ['memory of one job', { memoryBytes: 11 * G }, 'memory', 'error'],
  ['memory of all', { memoryBytes: 23 * G }, 'memory', 'warning'],
  ['CPUs of one job', { cpus: 2 }, 'cpus', 'warning'],
  ['CPUs of all', { cpus: 7 }, 'cpus', 'warning'],
  ['disk for all, with what stays free', { freeDiskBytes: 41 * G }, 'disk', 'warning'],
  ['disk for any', { freeDiskBytes: G }, 'disk', 'error'],
])('a machine without the %s is told', (_, lacks, name, state) => {
  expect(states({}, lacks)).toEqual({ cpus: 'ok', memory: 'ok', disk: 'ok', [name]: state });
});

test('each problem says what it compares, and what to set', () => {
  const [, memory] = judgeCapacity(sizes, { ...machine, memoryBytes: 16 * G });
  expect(memory?.message).toContain(
    '2 jobs of 12 GiB may use 24 GiB of memory together and this machine has 16 GiB',
  );
  expect(memory?.fix).toContain('EXECUTOR_MAXIMUM_NUM_JOBS');
});
