import type { LogEntryView } from '@kiln/protocol';
import { describe, expect, test } from 'vitest';
import { stepViews } from './step-views.ts';
import type { JobSpec } from './submission.ts';

const spec: JobSpec = {
  steps: ['build', null, null].map((key) => ({ key, image: 'a', run: 'r', dir: 'd', env: {} })),
  clone: { shallow: true, tags: false, sparse: [] },
  trace: false,
  network: null,
  resources: null,
};

function entry(key: string, exitCode: number | null): LogEntryView {
  const durationMs = exitCode === null ? null : 5;
  return {
    attempt: 1,
    entry: 1,
    key,
    command: [],
    startedAt: '2026-01-01T00:00:00.000Z',
    exitCode,
    durationMs,
    bytes: 0,
  };
}

describe('stepViews', () => {
  test('follows a running job', () => {
    const entries = [
      entry('setup.git.fetch', 0),
      entry('step.docker.build', 0),
      entry('step.docker.1', null),
    ];
    expect(stepViews(spec, entries, 'processing')).toEqual([
      {
        key: 'build',
        image: 'a',
        run: 'r',
        dir: 'd',
        state: 'completed',
        exitCode: 0,
        startedAt: '2026-01-01T00:00:00.000Z',
        durationMs: 5,
      },
      {
        key: '1',
        image: 'a',
        run: 'r',
        dir: 'd',
        state: 'running',
        exitCode: null,
        startedAt: '2026-01-01T00:00:00.000Z',
        durationMs: null,
      },
      {
        key: '2',
        image: 'a',
        run: 'r',
        dir: 'd',
        state: 'waiting',
        exitCode: null,
        startedAt: null,
        durationMs: null,
      },
    ]);
  });

  test.each([
    ['failed', 3, 'failed'],
    ['canceled', null, 'failed'],
    ['completed', 0, 'completed'],
  ] as const)('of a job that %s with exit code %s', (state, exitCode, expected) => {
    const states = stepViews(spec, [entry('step.docker.build', exitCode)], state).map((step) => step.state);
    expect(states).toEqual([expected, 'skipped', 'skipped']);
  });
});
