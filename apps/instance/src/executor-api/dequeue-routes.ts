import {
  type DequeueRequest as DequeueBody,
  dequeueRequestSchema,
  InvalidVersionError,
  isQueueName,
  maxLongPollSeconds,
  messages,
  parseExtensions,
  type QueueName,
  queueNames,
  readsDocumentV2,
} from '@kiln/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ClaimedJob, DequeueRequest, DocumentReader } from '../queue/index.ts';
import { requireSharedSecret } from './auth.ts';
import { checkExecutorName, connectionController, type ExecutorApiContext, queueOf } from './context.ts';
import { createDocuments, type Documents, type DocumentTarget, renderFor } from './documents.ts';
import { announceExtensions } from './extensions.ts';
import { refusedJson } from './replies.ts';
import { readJson, smallBody } from './request-body.ts';

/** Jobs whose document cannot be built are passed over, up to so many in one request. */
const maxProblems = 10;
/** What the reference assumes of an executor that does not say. */
const defaultResources = { numCPUs: 4, memory: '12G', diskSpace: '20G' };

/** Routes 2 and 4: `dequeue` of several queues and of one. */
export function dequeueRoutes(app: FastifyInstance, context: ExecutorApiContext): void {
  const documents = createDocuments(context.producers, context.log);
  app.post('/queue/dequeue', (request, reply) => dequeue(context, documents, request, reply, undefined));
  app.post<{ Params: { queueName: string } }>('/queue/:queueName/dequeue', (request, reply) =>
    dequeue(context, documents, request, reply, queueOf(request)),
  );
}

async function dequeue(
  context: ExecutorApiContext,
  documents: Documents,
  request: FastifyRequest,
  reply: FastifyReply,
  single: QueueName | undefined,
): Promise<FastifyReply> {
  requireSharedSecret(request.headers, context.siteConfig.current());
  announceExtensions(reply);
  const body = await readJson(request.raw, dequeueRequestSchema, smallBody);
  checkExecutorName(body.executorName);
  const version = readsV2(body.version) ? 2 : 1;
  const queues = single === undefined ? checkQueues(body.queues) : [single];
  if (queues.length === 0) return reply.code(204).send();

  const { executors } = context;
  const extensions = parseExtensions(body.extensions);
  const over = connectionController(reply, context.held);
  using _draining = executors.watchDraining(body.executorName, () => over.abort());
  if (executors.isDraining(body.executorName)) return reply.code(204).send();

  const started = performance.now();
  const waitSeconds = extensions.has('long-poll') ? Math.min(body.waitSeconds ?? 0, maxLongPollSeconds) : 0;
  const waiting: Omit<DequeueRequest, 'waitSeconds'> = {
    executorName: body.executorName,
    queues,
    limits: extensions.has('limits'),
    confirm: extensions.has('confirm'),
    isolation: await executors.isolationOf(body.executorName),
    signal: over.signal,
  };
  for (let problems = 0; problems < maxProblems && !waiting.signal.aborted; problems++) {
    const waitedSeconds = (performance.now() - started) / 1000;
    const claim = await context.queue.dequeue({
      ...waiting,
      waitSeconds: Math.max(0, waitSeconds - waitedSeconds),
    });
    if (!claim) break;
    const document = await buildDocument(context, documents, claim, documentReader(body, version === 2), {
      version,
      queue: single === undefined ? claim.queue : undefined,
      extensions,
    });
    if (document === undefined) continue;
    context.onDequeue?.((performance.now() - started) / 1000, 'job');
    return deliver(context, reply, claim, document);
  }
  context.onDequeue?.((performance.now() - started) / 1000, 'none');
  return reply.code(204).send();
}

/** @throws Refused with 400 */
function readsV2(version: string): boolean {
  try {
    return readsDocumentV2(version);
  } catch (error) {
    if (error instanceof InvalidVersionError) throw refusedJson(400, error.message);
    throw error;
  }
}

/** @throws Refused with 400 that names the unknown ones */
function checkQueues(names: string[]): QueueName[] {
  const unknown = names.filter((name) => !isQueueName(name));
  if (unknown.length > 0) throw refusedJson(400, messages.invalidQueues(unknown, queueNames));
  return [...new Set(names.filter(isQueueName))];
}

function documentReader(body: DequeueBody, readsVersion2: boolean): DocumentReader {
  return {
    version: body.version,
    readsV2: readsVersion2,
    numCPUs: body.numCPUs || defaultResources.numCPUs,
    memory: body.memory || defaultResources.memory,
    diskSpace: body.diskSpace || defaultResources.diskSpace,
  };
}

/** The document as JSON. Undefined: the job has failed or went back to the queue, with the cause. */
async function buildDocument(
  { queue, log }: ExecutorApiContext,
  documents: Documents,
  claim: ClaimedJob,
  reader: DocumentReader,
  executor: DocumentTarget,
): Promise<string | undefined> {
  const built = await documents.build(claim, reader);
  if (!('problem' in built)) return renderFor(built, claim, executor);
  const { problem, retryAfterSeconds } = built;
  log.info({ jobId: claim.id, problem, retryAfterSeconds }, 'the document of a job could not be built');
  await queue.documentFailed(claim, messages.documentFailed(problem), retryAfterSeconds);
  return undefined;
}

/** Sends the document; when it could not be written to the connection, the claim is undone. */
function deliver(
  { queue, log }: ExecutorApiContext,
  reply: FastifyReply,
  claim: ClaimedJob,
  document: string,
): FastifyReply {
  let written = false;
  let settled = false;
  async function undo(): Promise<void> {
    if (written || settled) return;
    settled = true;
    log.info({ jobId: claim.id, attempt: claim.attempt }, 'an executor was gone before it got its job');
    try {
      await queue.unclaim(claim);
    } catch (err) {
      log.warn({ err, jobId: claim.id }, 'could not take a claim back; its lease ends it');
    }
  }
  reply.raw.once('finish', () => {
    written = true;
  });
  reply.raw.once('close', undo);
  if (reply.raw.destroyed) void undo();
  return reply.header('content-type', 'application/json').send(Buffer.from(document));
}
