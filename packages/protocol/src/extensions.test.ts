import { describe, expect, it } from 'vitest';
import { extensionNames, parseExtensions } from './extensions.ts';
import { isEnded, jobStates } from './job-states.ts';
import { isQueueName, queueNames } from './queues.ts';

describe('parseExtensions', () => {
  it('keeps what is known, whatever surrounds it', () => {
    expect([...parseExtensions([' long-poll', 'attempt ', 'warp-drive', '', 'LIMITS', 'attempt'])]).toEqual([
      'long-poll',
      'attempt',
    ]);
    expect([...parseExtensions(extensionNames.join(', ').split(','))]).toEqual([...extensionNames]);
  });
});

describe('names', () => {
  it('of queues are told from others', () => {
    expect(queueNames.every(isQueueName)).toBe(true);
    expect(['', 'Batches', 'batches ', 'constructor'].some(isQueueName)).toBe(false);
  });

  it('of states tell which are the end', () => {
    expect(jobStates.filter(isEnded)).toEqual(['completed', 'failed', 'canceled']);
  });
});
