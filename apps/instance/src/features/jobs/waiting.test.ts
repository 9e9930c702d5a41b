import { describe, expect, test } from 'vitest';
import { waitingReason } from './waiting.ts';

const now = new Date('2026-01-01T00:00:00Z');
const job = { state: 'queued', queue: 'jobs', needsLimits: false, availableAt: null } as const;
type Job = Parameters<typeof waitingReason>[0];

function reason(change: Partial<Job>, executors: number, withLimits: number, ahead: number) {
  const facts = { capacity: { executors, withLimits }, ahead, now };
  return waitingReason({ ...job, ...change }, facts);
}

describe('waitingReason', () => {
  test.each([
    [{}, 0, 0, 4, { code: 'no_executor', ahead: 4 }],
    [{ needsLimits: true }, 2, 0, 0, { code: 'needs_extension', ahead: 0 }],
    [{ needsLimits: true }, 2, 1, 0, { code: 'executors_busy', ahead: 0 }],
    [{}, 1, 0, 2, { code: 'behind', ahead: 2 }],
    [{}, 1, 0, 0, { code: 'executors_busy', ahead: 0 }],
    [{ availableAt: new Date('2026-01-01T00:01:00Z') }, 1, 1, 0, { code: 'delayed', ahead: null }],
    [{ availableAt: new Date('2025-12-31T00:00:00Z') }, 1, 1, 0, { code: 'executors_busy', ahead: 0 }],
  ])('%j with %i executors, %i with limits, %i ahead', (change, executors, withLimits, ahead, expected) => {
    expect(reason(change, executors, withLimits, ahead)).toMatchObject(expected);
  });

  test('only a queued job waits', () => {
    expect(reason({ state: 'processing' }, 0, 0, 0)).toBeNull();
    expect(reason({ state: 'failed' }, 0, 0, 0)).toBeNull();
  });
});
