import { z } from 'zod';

const time = z.string().meta({ format: 'date-time' });

/** Body of `POST /.api/repositories`. */
export const registerRepositorySchema = z
  .strictObject({
    name: z.string().min(1).max(512).meta({ description: 'Such as github.com/acme/widgets' }),
    cloneURL: z.string().min(1).max(4096).meta({ description: 'https, ssh or file URL, or a local path' }),
  })
  .meta({ id: 'RegisterRepository' });
export type RegisterRepository = z.infer<typeof registerRepositorySchema>;

export const repositoryViewSchema = z
  .object({
    name: z.string(),
    cloneURL: z.string(),
    status: z
      .enum(['new', 'ready', 'failed'])
      .meta({ description: 'failed: the last fetch failed, see lastError' }),
    lastError: z.string().nullable(),
    lastFetchedAt: time.nullable(),
    defaultBranch: z.string().nullable(),
    headCommit: z.string().nullable(),
    sizeBytes: z.int().nullable(),
    createdAt: time,
  })
  .meta({ id: 'Repository' });
export type RepositoryView = z.infer<typeof repositoryViewSchema>;

export const repositoryListSchema = z.object({ repositories: z.array(repositoryViewSchema) });
