import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { requireJobAuth } from './auth.ts';
import { type ExecutorApiContext, noteSignOfLife, pageNotFound } from './context.ts';
import { Refused, refusedText } from './replies.ts';

/** The reference's own bucket; its files belong to jobs of the queue `batches`. */
const batchChangesBucket = 'batch-changes';

/** Routes 13 and 14: files of jobs that are too large for the job document. */
export function fileRoutes(app: FastifyInstance, context: ExecutorApiContext): void {
  const { queue, producers, siteConfig } = context;
  app.route<{ Params: { bucket: string; first: string; second: string } }>({
    method: ['GET', 'HEAD'],
    url: '/files/:bucket/:first/:second',
    handler: async (request, reply) => {
      const { bucket, first, second } = request.params;
      const producer = producers.find((candidate) => candidate.bucket === bucket);
      if (!producer && bucket !== batchChangesBucket) throw pageNotFound();
      const binding = bucket === batchChangesBucket ? ({ queue: 'batches' } as const) : 'job';
      const auth = await requireJobAuth(request.headers, siteConfig.current(), queue, binding, false);
      await noteSignOfLife(queue, auth);
      if (first === '') throw refusedText(400, 'spec ID not provided');
      if (second === '') throw refusedText(400, 'file ID not provided');
      const claims = auth.by === 'job-token' ? auth.claims : undefined;
      const file = await producer?.file?.(claims, `${first}/${second}`);
      if (!file) {
        throw request.method === 'HEAD'
          ? new Refused(404, 'empty')
          : refusedText(404, 'workspace file does not exist');
      }
      reply.header('content-type', 'application/octet-stream').header('content-length', file.sizeBytes);
      if (request.method === 'HEAD') return reply.send();
      return reply.send(Readable.from(await file.open(), { objectMode: false }));
    },
  });
}
