import { z } from 'zod';

/** Every queue, in the order in which messages name them. `jobs` is Kiln's own; a genuine executor knows the first two. */
export const queueNames = ['batches', 'codeintel', 'jobs'] as const;
export const queueNameSchema = z.enum(queueNames);
export type QueueName = (typeof queueNames)[number];

export function isQueueName(name: string): name is QueueName {
  return (queueNames as readonly string[]).includes(name);
}
