import { type QueueName, queueNames } from '@kiln/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { queueWeights } from './settings.ts';
import { createStride } from './stride.ts';

const someQueues = fc.subarray([...queueNames], { minLength: 1 });

describe('stride', () => {
  it('divides turns by weight among queues that always have jobs', () => {
    fc.assert(
      fc.property(someQueues, fc.integer({ min: 1, max: 400 }), (available, turns) => {
        const counts = count(
          createStride(queueWeights),
          Array.from({ length: turns }, () => available),
        );
        const total = available.reduce((sum, queue) => sum + queueWeights[queue], 0);
        for (const queue of available) {
          expect(Math.abs((counts[queue] ?? 0) - (turns * queueWeights[queue]) / total)).toBeLessThanOrEqual(
            1.5,
          );
        }
      }),
    );
  });

  it('gives a queue no credit for the time in which it was empty', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 500 }), (quiet) => {
        const stride = createStride(queueWeights);
        count(
          stride,
          Array.from({ length: quiet }, () => ['batches']),
        );
        const counts = count(
          stride,
          Array.from({ length: 50 }, () => ['batches', 'codeintel', 'jobs']),
        );
        expect(counts.codeintel ?? 0).toBeGreaterThanOrEqual(4);
        expect(counts.codeintel ?? 0).toBeLessThanOrEqual(7);
        expect(counts.batches ?? 0).toBeGreaterThanOrEqual(20);
      }),
    );
  });

  it('never leaves a queue out for long, whichever others come and go', () => {
    fc.assert(
      fc.property(
        fc.array(someQueues, { maxLength: 300 }),
        fc.constantFrom(...queueNames),
        (rounds, patient) => {
          const stride = createStride(queueWeights);
          let without = 0;
          for (const others of rounds) {
            const available = [...new Set<QueueName>([...others, patient])];
            without = stride.take(available) === patient ? 0 : without + 1;
            // The lightest queue has one turn in nine.
            expect(without).toBeLessThanOrEqual(10);
          }
        },
      ),
    );
  });

  it('forgets a turn that came to nothing', () => {
    const stride = createStride(queueWeights);
    expect(stride.take(['codeintel'])).toBe('codeintel');
    stride.giveBack('codeintel');
    const counts = count(
      stride,
      Array.from({ length: 90 }, () => ['batches', 'codeintel', 'jobs']),
    );
    expect(counts).toEqual({ batches: 40, codeintel: 10, jobs: 40 });
  });

  it('refuses a turn for nobody', () => {
    expect(() => createStride(queueWeights).take([])).toThrow(RangeError);
  });
});

function count(
  stride: ReturnType<typeof createStride>,
  rounds: readonly QueueName[][],
): Partial<Record<QueueName, number>> {
  const counts: Partial<Record<QueueName, number>> = {};
  for (const available of rounds) {
    const queue = stride.take(available);
    counts[queue] = (counts[queue] ?? 0) + 1;
  }
  return counts;
}
