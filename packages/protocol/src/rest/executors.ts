import { z } from 'zod';
import { queueNameSchema } from '../queues.ts';
import { isolationSchema } from '../wire/requests.ts';

const time = z.string().meta({ format: 'date-time' });

export const executorViewSchema = z
  .object({
    name: z.string(),
    queues: z.array(queueNameSchema),
    active: z.boolean().meta({ description: 'Seen within 15 seconds' }),
    draining: z.boolean(),
    compatibility: z.enum(['OUTDATED', 'UP_TO_DATE', 'VERSION_AHEAD']).nullable(),
    isolation: isolationSchema.nullable(),
    slots: z.int().nullable(),
    running: z.int().nullable(),
    os: z.string(),
    architecture: z.string(),
    executorVersion: z.string(),
    kilnVersion: z.string(),
    dockerVersion: z.string(),
    gitVersion: z.string(),
    srcCliVersion: z.string(),
    endedBecause: z.string().nullable(),
    firstSeenAt: time,
    lastSeenAt: time,
  })
  .meta({ id: 'Executor' });
export type ExecutorView = z.infer<typeof executorViewSchema>;

export const executorListSchema = z.object({ executors: z.array(executorViewSchema) });
