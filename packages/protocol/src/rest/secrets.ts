import { z } from 'zod';

/** What may use a secret: jobs of batch changes, of code intelligence, or those that people submit. */
export const secretScopeSchema = z.enum(['BATCHES', 'CODEINTEL', 'JOBS']);
export type SecretScope = z.infer<typeof secretScopeSchema>;

export const maxSecretValueBytes = 64 * 1024;
/** JSON may need six bytes for one of the value. */
export const maxSetSecretBytes = 6 * maxSecretValueBytes + 1024;

export const secretKeySchema = z
  .string()
  .max(255)
  .regex(/^[A-Z][A-Z0-9_]*$/, 'must be a name such as NPM_TOKEN: capital letters, digits and "_"');

/** Registry credentials in the shape of Docker's `config.json`: applies to every job, without being asked for. */
export const dockerAuthSecretKey = 'DOCKER_AUTH_CONFIG';

/** Body of `PUT /.api/secrets/:scope/:key`. */
export const setSecretSchema = z
  .strictObject({ value: z.string().meta({ description: 'Up to 64 KiB; never given out again' }) })
  .meta({ id: 'SetSecret' });

const time = z.string().meta({ format: 'date-time' });

export const secretViewSchema = z
  .object({
    scope: secretScopeSchema,
    key: z.string(),
    version: z.int().meta({ description: '1, and one more with each new value' }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Secret' });
export type SecretView = z.infer<typeof secretViewSchema>;

export const secretListSchema = z.object({ secrets: z.array(secretViewSchema) });

export const secretSetSchema = z.object({
  secret: secretViewSchema,
  notices: z.array(z.string()).meta({ description: 'Remarks on the value that did not refuse it' }),
});

export const secretUseSchema = z
  .object({
    scope: secretScopeSchema,
    key: z.string(),
    version: z.int(),
    jobId: z.int(),
    attempt: z.int(),
    executor: z.string(),
    user: z.string().nullable().meta({ description: 'Who submitted the job; null: deleted since' }),
    cause: z.enum(['requested', 'registry']).meta({
      description: 'requested: the job asked for it; registry: credentials for the registries of its images',
    }),
    usedAt: time,
  })
  .meta({ id: 'SecretUse' });
export type SecretUse = z.infer<typeof secretUseSchema>;

export const secretUseListSchema = z.object({
  uses: z.array(secretUseSchema),
  /** Pass as `after` for the next page; null at the end. */
  nextCursor: z.string().nullable(),
});
export type SecretUseList = z.infer<typeof secretUseListSchema>;

export const rotatedKeySchema = z
  .object({
    keyId: z.string().meta({ description: 'The key with which secrets are encrypted now' }),
    rewrapped: z.int().meta({ description: 'How many secrets were encrypted with another one' }),
    retired: z.array(z.string()).meta({ description: 'Ids of the keys that no secret needs any more' }),
  })
  .meta({ id: 'RotatedKey' });
export type RotatedKey = z.infer<typeof rotatedKeySchema>;
