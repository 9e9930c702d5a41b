import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { ApiError } from '../../api-error.ts';
import type { HttpServer } from '../../http.ts';
import { type Accounts, principalOf } from '../accounts/index.ts';
import { readRange } from './byte-range.ts';
import { renderEventStream } from './event-stream.ts';
import type { Jobs } from './jobs.ts';
import { renderLogText } from './log-text.ts';

const attempt = z.coerce
  .number()
  .int()
  .positive()
  .optional()
  .meta({ description: 'All attempts without it; of an entry: the last one' });

const logQuery = z.object({
  follow: z
    .enum(['0', '1', 'true', 'false'])
    .optional()
    .meta({ description: 'Go on until the job has ended' }),
  attempt,
});
const entryParams = z.object({
  id: z.coerce.number().int().positive(),
  entry: z.coerce.number().int().positive(),
});

/** The log of a job as text or as events, and the output of one entry. */
export function jobLogRoutes(
  server: HttpServer,
  { jobs, accounts, shutdown }: { jobs: Jobs; accounts: Accounts; shutdown: AbortSignal },
): void {
  const tags = ['jobs'];
  const onRequest = accounts.authorize;

  server.get(
    '/.api/jobs/:id/log',
    {
      onRequest,
      // It would follow the log to its end for nobody.
      exposeHeadRoute: false,
      schema: {
        tags,
        summary: 'The log of a job',
        description:
          'Plain text. With `Accept: text/event-stream` events `job`, `entry`, `output` and `end`, until the job has ended; `Last-Event-ID` resumes.',
        params: z.object({ id: z.coerce.number().int().positive() }),
        querystring: logQuery,
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      const { id } = request.params;
      const { query } = request;
      const signal = connectionSignal(reply, shutdown);
      const follow = { attempt: query.attempt, signal };
      if (acceptsEvents(request.headers.accept)) {
        const after = request.headers['last-event-id'];
        const events = await jobs.followLog(principal, id, {
          ...follow,
          after: typeof after === 'string' ? after : undefined,
        });
        // A proxy that buffers would hold back a live view.
        reply.type('text/event-stream').header('x-accel-buffering', 'no');
        return reply.send(Readable.from(renderEventStream(events)));
      }
      const events =
        query.follow === '1' || query.follow === 'true'
          ? await jobs.followLog(principal, id, follow)
          : await jobs.log(principal, id, query.attempt);
      reply.type('text/plain; charset=utf-8').header('x-accel-buffering', 'no');
      return reply.send(Readable.from(renderLogText(events), { objectMode: false }));
    },
  );

  server.get(
    '/.api/jobs/:id/logEntries/:entry/output',
    {
      onRequest,
      schema: {
        tags,
        summary: 'The output of one log entry, as logged; one byte range per request',
        params: entryParams,
        querystring: z.object({ attempt }),
      },
    },
    async (request, reply) => {
      const { id, entry } = request.params;
      const output = await jobs.entryOutput(principalOf(request), id, entry, request.query.attempt);
      const { sizeBytes } = output;
      // Bytes of a stranger's program, whatever they look like.
      reply.type('application/octet-stream').header('accept-ranges', 'bytes');
      const asked = readRange(request.headers.range, sizeBytes);
      if (asked === 'unsatisfiable') {
        reply.header('content-range', `bytes */${sizeBytes}`);
        throw new ApiError(416, 'range_not_satisfiable', `The output has ${sizeBytes} bytes`);
      }
      const range = asked === 'whole' ? { start: 0, end: sizeBytes } : asked;
      const body = await output.read(range);
      if (!body) throw new ApiError(404, 'unknown_entry', `Log entry ${entry} of job ${id} was deleted`);
      if (asked !== 'whole') {
        reply.code(206).header('content-range', `bytes ${range.start}-${range.end - 1}/${sizeBytes}`);
      }
      reply.header('content-length', range.end - range.start);
      return reply.send(Readable.from(body, { objectMode: false }));
    },
  );
}

/** One for all: every connection ends, nearly always with nothing waiting for it. */
const clientGone = new ApiError(400, 'client_gone', 'The client closed the connection');

/** Aborts when the client is gone or the instance stops, with the error that answers what waits for it. */
export function connectionSignal(reply: FastifyReply, shutdown: AbortSignal): AbortSignal {
  const gone = new AbortController();
  const abort = () => gone.abort(clientGone);
  reply.raw.once('close', abort);
  if (reply.raw.destroyed) abort();
  return AbortSignal.any([gone.signal, shutdown]);
}

function acceptsEvents(accept: string | undefined): boolean {
  return /(^|,)\s*text\/event-stream\s*(;|,|$)/i.test(accept ?? '');
}
