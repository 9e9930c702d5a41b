import { addLogEntrySchema, appendLogSchema, type QueueName, updateLogEntrySchema } from '@kiln/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { EntryHead, LogWriter } from '../logs/index.ts';
import { type JobAuth, requireJobAuth } from './auth.ts';
import { checkEntryId, type ExecutorApiContext, jobCaller, queueOf, refusedCall } from './context.ts';
import { bodyTooLarge, sendJson, unreadableBody } from './replies.ts';
import { appendBody, readJson, readLogBody } from './request-body.ts';

type QueueRoute = { Params: { queueName: string } };

const maxAppendBytes = 8 * 1024 * 1024;

/** Routes 6 and 7, `addExecutionLogEntry` and `updateExecutionLogEntry`, and the extension `log-append`. */
export function logRoutes(app: FastifyInstance, context: ExecutorApiContext): void {
  const { queue, logs, siteConfig, spoolDirectory } = context;

  function authenticate(request: FastifyRequest<QueueRoute>): Promise<JobAuth> {
    const binding: { queue: QueueName } = { queue: queueOf(request) };
    return requireJobAuth(request.headers, siteConfig.current(), queue, binding, false);
  }

  /** The attempt that writes, whose lease this extends. @throws Refused when it is not the current one */
  async function writerOf(
    auth: JobAuth,
    body: { jobId: number; executorName: string; attempt?: number | undefined },
  ): Promise<LogWriter> {
    const caller = jobCaller(auth, body);
    const touched = await queue.touch(caller);
    if ('refused' in touched) throw refusedCall(touched.refused);
    return { jobId: caller.jobId, attempt: touched.attempt };
  }

  app.post<QueueRoute>('/queue/:queueName/addExecutionLogEntry', async (request, reply) => {
    const auth = await authenticate(request);
    const { head: body, out } = await readLogBody(request.raw, addLogEntrySchema, spoolDirectory);
    await using output = out;
    const head = entryHead(body);
    const added = await logs.addEntry(await writerOf(auth, body), head, output);
    if ('refused' in added) throw refusedCall(added.refused);
    return sendJson(reply, added.entry);
  });

  app.post<QueueRoute>('/queue/:queueName/updateExecutionLogEntry', async (request, reply) => {
    const auth = await authenticate(request);
    const { head: body, out } = await readLogBody(request.raw, updateLogEntrySchema, spoolDirectory);
    await using output = out;
    const head = entryHead(body);
    const writer = await writerOf(auth, body);
    checkEntryId(body.entryId);
    const updated = await logs.updateEntry({ ...writer, entry: body.entryId }, head, output);
    if ('refused' in updated) throw refusedCall(updated.refused);
    return reply.code(204).send();
  });

  app.post<QueueRoute>('/queue/:queueName/appendExecutionLog', async (request, reply) => {
    const auth = await authenticate(request);
    const body = await readJson(request.raw, appendLogSchema, appendBody);
    const data = decodeBase64(body.data);
    const writer = await writerOf(auth, body);
    checkEntryId(body.entryId);
    const { offset, exitCode, durationMs } = body;
    const appended = await logs.append(
      { ...writer, entry: body.entryId },
      { offset, data, exitCode, durationMs },
    );
    if ('refused' in appended) throw refusedCall(appended.refused);
    if ('mismatch' in appended) return sendJson(reply.code(409), { nextOffset: appended.mismatch });
    return sendJson(reply, { nextOffset: appended.nextOffset });
  });
}

function entryHead(body: {
  key: string;
  command: string[];
  startTime: string;
  exitCode?: number | undefined;
  durationMs?: number | undefined;
}): EntryHead {
  const { key, command, exitCode, durationMs } = body;
  return { key, command, startedAt: parseTime(body.startTime), exitCode, durationMs };
}

const rfc3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/;

/** A time left out is the zero time in the reference, and now here, which is nearer to the truth. */
function parseTime(text: string): Date {
  if (text === '') return new Date();
  const time = new Date(text);
  if (!rfc3339.test(text) || Number.isNaN(time.getTime())) {
    throw unreadableBody(`startTime: ${JSON.stringify(text)} is not an RFC 3339 time`);
  }
  return time;
}

function decodeBase64(text: string): Buffer {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw unreadableBody('data: expected standard base64 with padding');
  }
  const data = Buffer.from(text, 'base64');
  if (data.length > maxAppendBytes) throw bodyTooLarge('at most 8 MiB of output at a time');
  return data;
}
