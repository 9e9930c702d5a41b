import {
  jobListSchema,
  jobStateSchema,
  jobViewSchema,
  maxSubmitBytes,
  pageSizeSchema,
  queueNameSchema,
  submitJobSchema,
} from '@kiln/protocol';
import { z } from 'zod';
import type { HttpServer } from '../../http.ts';
import { type Accounts, principalOf } from '../accounts/index.ts';
import { checkEntryCounts } from './entry-limits.ts';
import { readIdempotencyKey } from './idempotency.ts';
import type { Jobs } from './jobs.ts';
import { connectionSignal, jobLogRoutes } from './log-routes.ts';

const jobIdParams = z.object({ id: z.coerce.number().int().positive() });

const listQuery = z.object({
  state: jobStateSchema.optional(),
  queue: queueNameSchema.optional(),
  namespace: z.string().max(255).optional(),
  first: pageSizeSchema,
  after: z.string().max(200).optional().meta({ description: 'The nextCursor of the page before' }),
});

/** `/.api/jobs`: submit, list, show, cancel, retry, and the log. */
export function jobRoutes(
  server: HttpServer,
  { jobs, accounts, shutdown }: { jobs: Jobs; accounts: Accounts; shutdown: AbortSignal },
): void {
  const tags = ['jobs'];
  const onRequest = accounts.authorize;

  server.post(
    '/.api/jobs',
    {
      onRequest,
      bodyLimit: maxSubmitBytes,
      preValidation: async (request) => checkEntryCounts(request.body),
      schema: {
        tags,
        summary: 'Submit a job',
        description:
          'With a header `Idempotency-Key` the same submission can be repeated safely: it gives the same job, and the header `Idempotency-Repeated: true`.',
        body: submitJobSchema,
        response: { 201: jobViewSchema },
      },
    },
    async (request, reply) => {
      const { job, repeated } = await jobs.submit(principalOf(request), {
        body: request.body,
        idempotencyKey: readIdempotencyKey(request.headers['idempotency-key']),
        signal: connectionSignal(reply, shutdown),
      });
      if (repeated) reply.header('idempotency-repeated', 'true');
      return reply.code(201).header('location', `/.api/jobs/${job.id}`).send(job);
    },
  );

  server.get(
    '/.api/jobs',
    {
      onRequest,
      schema: {
        tags,
        summary: 'List jobs, newest first',
        querystring: listQuery,
        response: { 200: jobListSchema },
      },
    },
    (request) => jobs.list(principalOf(request), request.query),
  );

  server.get(
    '/.api/jobs/:id',
    {
      onRequest,
      schema: { tags, summary: 'Show a job', params: jobIdParams, response: { 200: jobViewSchema } },
    },
    (request) => jobs.get(principalOf(request), request.params.id),
  );

  for (const [action, summary] of [
    ['cancel', 'Cancel a job; 409 when it has ended'],
    ['retry', 'Queue an ended job again; 409 when it has not ended'],
  ] as const) {
    server.post(
      `/.api/jobs/:id/${action}`,
      { onRequest, schema: { tags, summary, params: jobIdParams, response: { 200: jobViewSchema } } },
      (request) => jobs[action](principalOf(request), request.params.id),
    );
  }

  jobLogRoutes(server, { jobs, accounts, shutdown });
}
