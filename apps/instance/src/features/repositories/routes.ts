import { registerRepositorySchema, repositoryListSchema, repositoryViewSchema } from '@kiln/protocol';
import { z } from 'zod';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from '../accounts/index.ts';
import type { Repositories } from './repositories.ts';

const byName = z.object({ name: z.string().meta({ description: 'Percent-encoded' }) });

/** `/.api/repositories`: every user reads and syncs, site admins register and remove. */
export function repositoryRoutes(
  server: HttpServer,
  { repositories, accounts }: { repositories: Repositories; accounts: Accounts },
): void {
  const tags = ['repositories'];

  server.get(
    '/.api/repositories',
    {
      onRequest: accounts.authorize,
      schema: { tags, summary: 'List repositories, by name', response: { 200: repositoryListSchema } },
    },
    async () => ({ repositories: await repositories.list() }),
  );

  server.post(
    '/.api/repositories',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags,
        summary: 'Register a repository; its first fetch starts at once',
        body: registerRepositorySchema,
        response: { 201: repositoryViewSchema },
      },
    },
    async (request, reply) => reply.code(201).send(await repositories.register(request.body)),
  );

  server.get(
    '/.api/repositories/:name',
    {
      onRequest: accounts.authorize,
      schema: {
        tags,
        summary: 'Show a repository',
        params: byName,
        response: { 200: repositoryViewSchema },
      },
    },
    (request) => repositories.get(request.params.name),
  );

  server.delete(
    '/.api/repositories/:name',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: { tags, summary: 'Remove a repository', params: byName, response: { 204: z.null() } },
    },
    async (request, reply) => {
      await repositories.remove(request.params.name);
      return reply.code(204).send(null);
    },
  );

  server.post(
    '/.api/repositories/:name/sync',
    {
      onRequest: accounts.authorize,
      schema: {
        tags,
        summary: 'Fetch a repository now',
        params: byName,
        response: { 200: repositoryViewSchema },
      },
    },
    (request) => repositories.sync(request.params.name),
  );
}
