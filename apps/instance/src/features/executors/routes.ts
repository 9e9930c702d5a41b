import { executorListSchema, executorViewSchema } from '@kiln/protocol';
import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { HttpServer } from '../../http.ts';
import type { Accounts } from '../accounts/index.ts';
import type { Executors } from './executors.ts';

const nameParams = z.object({ name: z.string().min(1).max(255) });

/** `GET /.api/executors`, `POST /.api/executors/:name/drain` and `/resume`; site admins only. */
export function executorRoutes(
  server: HttpServer,
  { executors, accounts }: { executors: Executors; accounts: Pick<Accounts, 'authorizeSiteAdmin'> },
): void {
  server.get(
    '/.api/executors',
    {
      onRequest: accounts.authorizeSiteAdmin,
      schema: {
        tags: ['executors'],
        summary: 'Executors that sent a heartbeat within the last week, newest first',
        response: { 200: executorListSchema },
      },
    },
    async () => ({ executors: await executors.list() }),
  );

  for (const [action, draining, summary] of [
    ['drain', true, 'Let an executor finish its jobs and take no more'],
    ['resume', false, 'Let a drained executor take jobs again'],
  ] as const) {
    server.post(
      `/.api/executors/:name/${action}`,
      {
        onRequest: accounts.authorizeSiteAdmin,
        schema: { tags: ['executors'], summary, params: nameParams, response: { 200: executorViewSchema } },
      },
      async (request) => {
        const { name } = request.params;
        const executor = await executors.setDraining(name, draining);
        if (!executor) {
          throw new ApiError(
            404,
            'executor_not_found',
            `There is no executor ${JSON.stringify(name)}`,
            'List the known ones with GET /.api/executors.',
          );
        }
        request.log.info({ executorName: name, draining }, 'draining of an executor was changed');
        return executor;
      },
    );
  }
}
