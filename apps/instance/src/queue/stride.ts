import { type QueueName, queueNames } from '@kiln/protocol';

export interface Stride {
  /** The queue whose turn it is among those that may have a job, and counts the turn. `available` is not empty. */
  take(available: readonly QueueName[]): QueueName;
  /** A turn that came to nothing is not counted: an empty queue earns and loses nothing. */
  giveBack(queue: QueueName): void;
}

/**
 * Stride scheduling: each turn of a queue moves it on by 1/weight, and the queue that is furthest behind has the
 * next turn. A queue that had nothing to do for a while starts from where the others are, without credit.
 */
export function createStride(weights: Readonly<Record<QueueName, number>>): Stride {
  const position = Object.fromEntries(queueNames.map((queue) => [queue, 0])) as Record<QueueName, number>;
  let clock = 0;
  return {
    take(available) {
      let chosen: QueueName | undefined;
      for (const queue of queueNames) {
        if (!available.includes(queue)) continue;
        position[queue] = Math.max(position[queue], clock);
        if (chosen === undefined || position[queue] < position[chosen]) chosen = queue;
      }
      if (chosen === undefined) throw new RangeError('A turn needs at least one queue.');
      clock = position[chosen];
      position[chosen] += 1 / weights[chosen];
      return chosen;
    },
    giveBack(queue) {
      position[queue] -= 1 / weights[queue];
    },
  };
}
