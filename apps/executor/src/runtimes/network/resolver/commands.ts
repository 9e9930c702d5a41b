import { z } from 'zod';
import type { LookupJob } from './job-lookups.ts';

/** A line to the program: answer the lookups of a job. */
export interface Command {
  job: string;
  lookups: LookupJob;
  /** 0: any that is free. */
  port: number;
  /** The job's network outlives the executor. */
  outlives: boolean;
}

/** A line from the program. It speaks with whom it should not trust, so its lines are checked. */
export const reportSchema = z.union([
  z.object({ job: z.string(), port: z.int().min(1).max(65_535) }),
  z.object({ job: z.string(), failed: z.string().max(1000) }),
  z.object({ job: z.string(), ended: z.literal(true) }),
  z.object({
    job: z.string(),
    removed: z.object({
      name: z.string().regex(/^[\x21-\x7e]{1,255}$/),
      address: z.union([z.ipv4(), z.ipv6()]),
    }),
  }),
]);
export type Report = z.infer<typeof reportSchema>;
