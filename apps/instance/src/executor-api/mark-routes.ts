import { markSchema, releaseSchema } from '@kiln/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { MarkKind } from '../queue/index.ts';
import { requireJobAuth } from './auth.ts';
import { type ExecutorApiContext, jobCaller, queueOf, refusedCall } from './context.ts';
import { Refused } from './replies.ts';
import { mediumBody, readJson, smallBody } from './request-body.ts';

type QueueRoute = { Params: { queueName: string } };

const marks = [
  ['markComplete', 'complete'],
  ['markErrored', 'errored'],
  ['markFailed', 'failed'],
] as const;
/** Messages are for people; the whole output is in the log. */
const maxMessageCharacters = 64 * 1024;
/** Log entries of one job that can have used resources. */
const maxUsageRecords = 1000;

/** Routes 8 to 10, the marks, and the extension `release`. */
export function markRoutes(app: FastifyInstance, context: ExecutorApiContext): void {
  for (const [route, kind] of marks) {
    app.post<QueueRoute>(`/queue/:queueName/${route}`, (request, reply) =>
      mark(context, kind, request, reply),
    );
  }
  app.post<QueueRoute>('/queue/:queueName/release', (request, reply) => release(context, request, reply));
}

async function mark(
  { queue, logs, siteConfig }: ExecutorApiContext,
  kind: MarkKind,
  request: FastifyRequest<QueueRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const binding = { queue: queueOf(request) };
  const auth = await requireJobAuth(request.headers, siteConfig.current(), queue, binding, true);
  const body = await readJson(request.raw, markSchema, mediumBody);
  const caller = jobCaller(auth, body);
  const message = kind === 'complete' ? '' : cut(body.errorMessage);
  const result = await queue.mark(caller, kind, message, body.usage.slice(0, maxUsageRecords));
  if ('refused' in result) {
    if (result.refused === 'stale') throw refusedCall('stale');
    // Also after another mark: the job is final, and this executor has nothing more to say about it.
    throw new Refused(404, 'null');
  }
  logs.ended(caller.jobId);
  return reply.code(204).send();
}

async function release(
  { queue, siteConfig }: ExecutorApiContext,
  request: FastifyRequest<QueueRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const binding = { queue: queueOf(request) };
  const auth = await requireJobAuth(request.headers, siteConfig.current(), queue, binding, false);
  const body = await readJson(request.raw, releaseSchema, smallBody);
  const result = await queue.release(jobCaller(auth, body), body.reason, cut(body.message));
  if ('refused' in result) throw refusedCall(result.refused);
  return reply.code(204).send();
}

function cut(message: string): string {
  const text = message.toWellFormed();
  return text.length > maxMessageCharacters ? `${text.slice(0, maxMessageCharacters)}... (cut)` : text;
}
