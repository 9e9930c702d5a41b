import { z } from 'zod';

/** Every error of `/.api`. `code` is stable, `message` says what happened on what, `hint` what to do. */
export const apiErrorSchema = z
  .object({ error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }) })
  .meta({ id: 'Error' });
export type ApiError = z.infer<typeof apiErrorSchema>;
