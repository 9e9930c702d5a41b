import { describe, expect, it } from 'vitest';
import { readDocument, readExchanges } from '../testing/fixtures.ts';
import { messages } from './messages.ts';
import {
  addLogEntrySchema,
  appendLogSchema,
  dequeueRequestSchema,
  heartbeatRequestSchema,
  heartbeatResponseSchema,
  markSchema,
  releaseSchema,
  updateLogEntrySchema,
} from './requests.ts';

describe('dequeue', () => {
  it.each(readExchanges('dequeue'))('$name', ({ request }) => {
    expect(dequeueRequestSchema.parse(request.body)).toMatchObject(request.body as object);
  });

  it('needs nothing but an object', () => {
    expect(dequeueRequestSchema.parse({})).toEqual({
      queues: [],
      executorName: '',
      version: '',
      numCPUs: 0,
      memory: '',
      diskSpace: '',
      extensions: [],
      kilnVersion: '',
    });
  });

  it('carries the extensions', () => {
    const body = { executorName: 'a', extensions: ['long-poll'], waitSeconds: 25, kilnVersion: '0.1.0' };
    expect(dequeueRequestSchema.parse(body)).toMatchObject(body);
  });
});

describe('heartbeat', () => {
  it.each(readExchanges<{ jobIds: string[] }>('heartbeat'))('$name', ({ request, response, jobIds }) => {
    const { jobIds: _, ...rest } = request.body as { jobIds?: unknown };
    expect(heartbeatRequestSchema.parse(request.body)).toMatchObject({ ...rest, jobIds });
    if (response.status !== 200) return;
    const { knownIds, cancelIds } = response.body as Record<string, string[] | null>;
    expect(heartbeatResponseSchema.parse(response.body)).toEqual({
      knownIds: knownIds ?? [],
      cancelIds: cancelIds ?? [],
    });
  });

  it('is read from answers with other casing and with numbers', () => {
    expect(heartbeatResponseSchema.parse({ knownIDs: [42, '7'], cancelIDs: [42] })).toEqual({
      knownIds: ['42', '7'],
      cancelIds: ['42'],
    });
  });

  it.each([[[true]], [[1.5]], [[{}]], [[null]]])('refuses job ids such as %j', (jobIds) => {
    const result = heartbeatRequestSchema.safeParse({ executorName: 'a', jobIds });
    expect(result.error?.issues[0]?.message).toBe(`unknown type for job ID: ${JSON.stringify(jobIds[0])}`);
  });

  it('carries the extensions', () => {
    const body = {
      executorName: 'a',
      jobIds: ['1'],
      attempts: { '1': 3 },
      waitSeconds: 10,
      slots: 4,
      running: 1,
      isolation: { runtime: 'docker' },
      endedBecause: 'spot',
    };
    expect(heartbeatRequestSchema.parse(body)).toMatchObject(body);
    expect(heartbeatResponseSchema.parse({ knownIds: [], cancelIds: [], drain: true }).drain).toBe(true);
  });
});

describe('log entries', () => {
  it.each(readExchanges('log-entries'))('$name', ({ request }) => {
    const isAdd = request.path.endsWith('/addExecutionLogEntry');
    const { out: _, ...head } = request.body as { out?: string; command: string[] | null };
    const decoded = (isAdd ? addLogEntrySchema : updateLogEntrySchema).parse(request.body);
    expect(decoded).toEqual({ ...head, command: head.command ?? [] });
  });

  it('may be appended to', () => {
    const body = {
      executorName: 'a',
      jobId: 1,
      attempt: 2,
      entryId: 3,
      offset: 0,
      data: 'aGk=',
      exitCode: 0,
    };
    expect(appendLogSchema.parse(body)).toEqual(body);
    expect(appendLogSchema.safeParse({ ...body, offset: -1 }).success).toBe(false);
    expect(appendLogSchema.safeParse({ ...body, attempt: 0 }).success).toBe(false);
  });
});

describe('marks', () => {
  it.each(readExchanges('marks'))('$name', ({ request }) => {
    expect(markSchema.parse(request.body)).toEqual({
      errorMessage: '',
      usage: [],
      ...(request.body as object),
    });
  });

  it('of a release need a reason that is known', () => {
    const body = { executorName: 'a', jobId: 1, attempt: 1, reason: 'drain' };
    expect(releaseSchema.parse(body)).toEqual({ ...body, message: '' });
    expect(releaseSchema.safeParse({ ...body, reason: 'boredom' }).success).toBe(false);
  });
});

describe('texts', () => {
  it('are those that genuine instances answer', () => {
    const errors = ['dequeue', 'heartbeat', 'log-entries'].flatMap((name) =>
      readExchanges(name).flatMap(
        ({ response }) => (response.body as { error?: string } | null)?.error ?? [],
      ),
    );
    expect(errors).toEqual([
      messages.executorNameMissing,
      expect.stringMatching(/Invalid Semantic Version$/),
      messages.invalidQueues(['invalidqueue'], ['batches', 'codeintel']),
      messages.queueNamesMissing,
      messages.unsupportedQueues(['x'], ['a', 'b']),
      messages.unknownJob,
    ]);
  });

  it('name documents that exist', () => {
    const names = readExchanges('dequeue').flatMap(({ response }) => response.document ?? []);
    expect(names.map((name) => readDocument(name)['id'])).toEqual([1, 1, 1]);
  });
});
