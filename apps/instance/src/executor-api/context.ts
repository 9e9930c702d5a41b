import { isQueueName, messages, type QueueName } from '@kiln/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Executors } from '../features/executors/index.ts';
import type { Repositories } from '../features/repositories/index.ts';
import type { SiteConfig } from '../features/site-config/index.ts';
import type { Logs } from '../logs/index.ts';
import type { JobCaller, Producer, Queue, Refusal } from '../queue/index.ts';
import type { JobAuth } from './auth.ts';
import { type Refused, refusedJson, refusedText } from './replies.ts';

/** What the routes work with. */
export interface ExecutorApiOptions {
  queue: Queue;
  logs: Pick<Logs, 'addEntry' | 'updateEntry' | 'append' | 'ended'>;
  executors: Executors;
  repositories: Pick<Repositories, 'serveGit'>;
  producers: readonly Producer[];
  siteConfig: Pick<SiteConfig, 'current'>;
  /** Where log bodies over 1 MiB wait while they arrive; a directory with room for some of 512 MiB. */
  spoolDirectory: string;
  log: Logger;
  /** Called after each dequeue with the time it took, waiting included. */
  onDequeue?: ((seconds: number, outcome: 'job' | 'none') => void) | undefined;
}

export interface ExecutorApiContext extends ExecutorApiOptions {
  /** Of requests in progress; aborted when the server begins to close, so that held ones are answered. */
  held: Set<AbortController>;
}

/** The queue of a route; the same reply as for any path that does not exist when there is none of this name. */
export function queueOf(request: FastifyRequest<{ Params: { queueName: string } }>): QueueName {
  const { queueName } = request.params;
  if (!isQueueName(queueName)) throw pageNotFound();
  return queueName;
}

export function pageNotFound(): Refused {
  return refusedText(404, '404 page not found');
}

/** One for all: an abort without a reason makes an error with a stack, thousands of times a second. */
const connectionClosed = new Error('the connection was closed');

/**
 * A controller that aborts when the connection closes and when the server does; the request may abort it itself too.
 * (Not `AbortSignal.any`: what it makes of a signal that never aborts is hard to get rid of, thousands of times a second.)
 */
export function connectionController(reply: FastifyReply, held: Set<AbortController>): AbortController {
  const over = new AbortController();
  held.add(over);
  reply.raw.once('close', () => {
    held.delete(over);
    over.abort(connectionClosed);
  });
  if (reply.raw.destroyed) over.abort(connectionClosed);
  return over;
}

const maxExecutorNameCharacters = 255;

/** @throws Refused with 400 */
export function checkExecutorName(name: string): void {
  if (name === '') throw refusedJson(400, messages.executorNameMissing);
  if (name.length > maxExecutorNameCharacters || /\p{Cc}/u.test(name)) {
    throw refusedJson(
      400,
      `executorName must have 1 to ${maxExecutorNameCharacters} characters and no control characters`,
    );
  }
}

/** Larger than any attempt or entry number; columns hold 32 bits. */
const maxInteger = 2 ** 31 - 1;

/**
 * The caller of a job route as its body names it. With a job token the body must name the same job and executor, and
 * the token's attempt is the caller's.
 * @throws Refused with 400, 403, 404 or 409
 */
export function jobCaller(
  auth: JobAuth,
  body: { jobId: number; executorName: string; attempt?: number | undefined },
): JobCaller {
  checkExecutorName(body.executorName);
  if (auth.by === 'job-token') {
    const { claims } = auth;
    if (body.jobId !== claims.jobId) {
      throw refusedJson(403, `jobId ${body.jobId} is not the job of the token`);
    }
    if (body.executorName !== claims.executorName) {
      throw refusedJson(403, 'executorName is not the executor that the token was given to');
    }
    if (body.attempt !== undefined && body.attempt !== claims.attempt) {
      throw refusedJson(409, messages.staleAttempt);
    }
    return { jobId: claims.jobId, executorName: claims.executorName, attempt: claims.attempt };
  }
  if (body.jobId < 1) throw refusedJson(404, messages.unknownJob);
  if (body.attempt !== undefined && body.attempt > maxInteger) throw refusedJson(409, messages.staleAttempt);
  return { jobId: body.jobId, executorName: body.executorName, attempt: body.attempt };
}

/**
 * For job routes without a body of their own (git, files): a sign of life, as every call of a job is, which also
 * confirms the claim.
 * @throws Refused with 401 when the job is no longer this caller's
 */
export async function noteSignOfLife(queue: Pick<Queue, 'touch'>, auth: JobAuth): Promise<void> {
  if (auth.by === 'shared-secret') return;
  const { jobId, executorName, attempt } = auth.claims;
  const touched = await queue.touch({ jobId, executorName, attempt });
  if ('refused' in touched) throw refusedText(401, messages.invalidToken);
}

/** @throws Refused with 404 for a number that no entry has */
export function checkEntryId(entryId: number): void {
  if (entryId < 1 || entryId > maxInteger) throw refusedJson(404, messages.unknownJob);
}

/** Executors take 404 and 409 as final; the reference's 500 would be retried 20 times. */
export function refusedCall(refusal: Refusal): Refused {
  return refusal === 'stale'
    ? refusedJson(409, messages.staleAttempt)
    : refusedJson(404, messages.unknownJob);
}
