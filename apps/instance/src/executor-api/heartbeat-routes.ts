import {
  type HeartbeatRequest,
  heartbeatRequestSchema,
  isQueueName,
  maxHeartbeatWaitSeconds,
  messages,
  parseExtensions,
  type QueueName,
} from '@kiln/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { requireSharedSecret } from './auth.ts';
import { checkExecutorName, connectionController, type ExecutorApiContext, queueOf } from './context.ts';
import { announceExtensions } from './extensions.ts';
import { refusedJson, sendJson } from './replies.ts';
import { mediumBody, readJson } from './request-body.ts';

/** An executor runs a handful of jobs; no real one comes near this. */
const maxJobs = 10_000;
/** Current executors mark their heartbeats so; those before 4.3 expect a bare array back. */
const objectResponseVersion = 'V2';

interface NamedJob {
  id: number;
  queue: QueueName;
  attempt: number | undefined;
}

/** Routes 3 and 5: `heartbeat` of executors that serve several queues and one. */
export function heartbeatRoutes(app: FastifyInstance, context: ExecutorApiContext): void {
  /** Executors that were told to drain. A change since then is told at once, not after a held heartbeat. */
  const toldToDrain = new Set<string>();
  app.post('/queue/heartbeat', (request, reply) =>
    heartbeat(context, toldToDrain, request, reply, undefined),
  );
  app.post<{ Params: { queueName: string } }>('/queue/:queueName/heartbeat', (request, reply) =>
    heartbeat(context, toldToDrain, request, reply, queueOf(request)),
  );
}

async function heartbeat(
  context: ExecutorApiContext,
  toldToDrain: Set<string>,
  request: FastifyRequest,
  reply: FastifyReply,
  single: QueueName | undefined,
): Promise<FastifyReply> {
  requireSharedSecret(request.headers, context.siteConfig.current());
  announceExtensions(reply);
  const body = await readJson(request.raw, heartbeatRequestSchema, mediumBody);
  checkExecutorName(body.executorName);
  if (single === undefined) checkQueueNames(body);
  const jobs = readJobs(body, single);

  const { executors, queue } = context;
  const extensions = parseExtensions(body.extensions);
  const name = body.executorName;
  const over = connectionController(reply, context.held);
  const { signal } = over;
  using _draining = executors.watchDraining(name, () => over.abort());
  const waitSeconds =
    extensions.has('cancel-push') && executors.isDraining(name) === toldToDrain.has(name)
      ? Math.min(body.waitSeconds ?? 0, maxHeartbeatWaitSeconds)
      : 0;
  if (body.prometheusMetrics !== '') executors.metrics.record(name, body.prometheusMetrics);
  const [, answer] = await Promise.all([
    register(context, body, single),
    // Without jobs there is still draining to wait for.
    jobs.length === 0 && waitSeconds === 0
      ? { known: [], cancel: [] }
      : queue.heartbeat({ executorName: name, jobs, waitSeconds, signal }),
  ]);

  const drain = executors.isDraining(name);
  if (drain) toldToDrain.add(name);
  else toldToDrain.delete(name);
  if (single !== undefined && body.version !== objectResponseVersion && body.extensions.length === 0) {
    return sendJson(reply, answer.known);
  }
  const shown = (ids: readonly number[]): string[] => {
    if (single !== undefined) return ids.map(String);
    const wanted = new Set(ids);
    return jobs.filter(({ id }) => wanted.has(id)).map((job) => `${job.id}-${job.queue}`);
  };
  return sendJson(reply, {
    knownIds: shown(answer.known),
    cancelIds: shown(answer.cancel),
    ...(extensions.has('fleet') ? { drain } : {}),
  });
}

/** Writes the executor's row; jobs live on without it, so a failure is only logged. */
async function register(
  { executors, log }: ExecutorApiContext,
  body: HeartbeatRequest,
  single: QueueName | undefined,
): Promise<void> {
  try {
    await executors.beat({
      ...body,
      name: body.executorName,
      queues: single === undefined ? body.queueNames.filter(isQueueName) : [single],
      extensions: [...parseExtensions(body.extensions)],
    });
  } catch (err) {
    log.warn({ err, executorName: body.executorName }, 'could not register an executor');
  }
}

/** @throws Refused with 400 */
function checkQueueNames(body: HeartbeatRequest): void {
  if (body.queueNames.length === 0) throw refusedJson(400, messages.queueNamesMissing);
  const unknown = body.jobIdsByQueue
    .map(({ queueName }) => queueName)
    .filter((name) => !body.queueNames.includes(name));
  if (unknown.length > 0) throw refusedJson(400, messages.unsupportedQueues(unknown, body.queueNames));
}

/** @throws Refused with 400 for ids that are no numbers */
function readJobs(body: HeartbeatRequest, single: QueueName | undefined): NamedJob[] {
  const groups = single === undefined ? body.jobIdsByQueue : [{ queueName: single, jobIds: body.jobIds }];
  const jobs = new Map<number, NamedJob>();
  const unreadable: string[] = [];
  for (const { queueName, jobIds } of groups) {
    for (const text of jobIds) {
      const id = Number(text);
      if (!/^-?\d{1,19}$/.test(text)) unreadable.push(text);
      // No job has such a number or is in such a queue: it is not known, which is all there is to say.
      else if (!Number.isSafeInteger(id) || id < 1 || !isQueueName(queueName)) continue;
      else jobs.set(id, { id, queue: queueName, attempt: attemptOf(body, text, queueName) });
    }
  }
  if (unreadable.length > 0) {
    const shown = unreadable.slice(0, 10).map((text) => text.slice(0, 50));
    throw refusedJson(400, `failed to parse one or more unexpected job ID formats: ${shown.join(', ')}`);
  }
  if (jobs.size > maxJobs) throw refusedJson(400, `a heartbeat may name at most ${maxJobs} jobs`);
  return [...jobs.values()];
}

/** By the id as the executor counts its jobs: with the queue's name when it serves several. */
function attemptOf(body: HeartbeatRequest, id: string, queueName: string): number | undefined {
  return body.attempts[id] ?? body.attempts[`${id}-${queueName}`];
}
