import { isQueueName, parseJobDocument, type QueueName } from '@kiln/protocol';
import { documentNames, readDocument, readExchanges, readFixture } from '@kiln/protocol/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ApiUnderTest, secret, startApi } from './api-under-test.ts';

interface CallBody {
  executorName: string;
  jobId?: number;
  entryId?: number;
  queues?: string[];
  jobIds?: (number | string)[] | null;
  jobIdsByQueue?: { queueName: string; jobIds: string[] }[];
}

/** Every recorded request of a genuine executor, against the real rooms, and what a genuine instance answered. */
describe('recorded vectors', () => {
  let api: ApiUnderTest;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    await api.database.query(
      'truncate jobs, lanes, job_logs, log_entries, log_chunks restart identity cascade',
    );
    api.document = {};
    api.settings = { executorTokens: [secret], requireJobTokens: false };
  });

  function inject(path: string, payload: object, authorization = `token-executor ${secret}`) {
    return api.server.inject({ method: 'POST', url: path, headers: { authorization }, payload });
  }
  /** A job of the recorded number, held by the recorded executor. @returns its token */
  async function hold(id: number, queue: QueueName, executorName: string): Promise<string> {
    await api.database.query(`select setval(pg_get_serial_sequence('jobs', 'id'), $1, false)`, [id]);
    await api.enqueue({ queue, repositoryName: 'github.com/acme/widgets' });
    const reply = await inject(`/.executors/queue/${queue}/dequeue`, { executorName, version: 'dev' });
    expect(reply.json()).toMatchObject({ id });
    return reply.json<{ token: string }>().token;
  }
  function queueOf(path: string): QueueName {
    const name = path.split('/')[3] ?? '';
    return isQueueName(name) ? name : 'codeintel';
  }
  /** A genuine instance's 500 is a 4xx here, which executors do not repeat; our list of queues is one longer. */
  function expectReply(
    reply: { statusCode: number; body: string },
    recorded: { status: number; body?: unknown },
  ) {
    if (recorded.status !== 500) expect(reply.statusCode).toBe(recorded.status);
    else expect([400, 404]).toContain(reply.statusCode);
    const body = JSON.stringify(recorded.body) ?? '';
    expect(reply.body).toBe(body.replace("'batches, codeintel'", "'batches, codeintel, jobs'"));
  }

  describe('dequeue', () => {
    it.each(readExchanges('dequeue'))('$name', async ({ request, response }) => {
      if (response.document !== undefined) await api.enqueue({ queue: 'codeintel' });
      const reply = await inject(request.path, request.body as CallBody);
      if (response.document === undefined) return expectReply(reply, response);
      const recorded = readDocument(response.document);
      expect(reply.statusCode).toBe(200);
      const sent = reply.json<Record<string, unknown>>();
      expect(sent).toEqual({ ...recorded, id: sent['id'], token: sent['token'], attempt: 1 });
      expect(sent['token']).toMatch(/^[0-9a-f]{40}$/);
      // The reference's order too, with ours at one place in between.
      expect(Object.keys(sent).filter((key) => key !== 'attempt')).toEqual(Object.keys(recorded));
    });
  });

  describe('job documents', () => {
    it.each(documentNames)('%s arrives as recorded', async (name) => {
      const recorded = readDocument(name);
      const { id: _id, token: _token, ...document } = parseJobDocument(recorded);
      const queue = document.queue ?? 'codeintel';
      api.document = document;
      await api.enqueue({ queue });
      const version = recorded['version'] === 2 ? '5.3.0' : '4.2.0';
      const reply = recorded['queue']
        ? await inject('/.executors/queue/dequeue', { executorName: 'e', version, queues: [queue] })
        : await inject(`/.executors/queue/${queue}/dequeue`, { executorName: 'e', version });
      const sent = reply.json<Record<string, unknown>>();
      expect(sent).toEqual({ ...recorded, id: sent['id'], token: sent['token'], attempt: 1 });
    });
  });

  describe('heartbeat', () => {
    it.each(readExchanges('heartbeat'))('$name', async ({ request, response }) => {
      const body = request.body as CallBody;
      const recorded = response.body as { knownIds?: string[] | null; cancelIds?: string[] | null };
      const groups = body.jobIdsByQueue ?? [{ queueName: queueOf(request.path), jobIds: body.jobIds ?? [] }];
      const shown: string[] = [];
      for (const { queueName, jobIds } of response.status === 200 ? groups : []) {
        for (const id of jobIds) {
          await hold(Number(id), queueName as QueueName, body.executorName);
          const name = body.jobIdsByQueue ? `${id}-${queueName}` : String(id);
          shown.push(name);
          if (recorded.cancelIds?.includes(name)) await api.queue.cancel(Number(id));
        }
      }
      const reply = await inject(request.path, body);
      if (response.status !== 200) return expectReply(reply, response);
      const version = 'version' in body ? body.version : undefined;
      // A ping without a version, to one queue, is that of an executor which expects an array.
      if (version === undefined && !request.path.endsWith('queue/heartbeat'))
        return expect(reply.body).toBe('[]');
      const answer = reply.json<{ knownIds: string[]; cancelIds: string[] }>();
      expect(Object.keys(answer)).toEqual(['knownIds', 'cancelIds']);
      expect(answer.knownIds.toSorted()).toEqual(shown.toSorted());
      expect(answer.cancelIds.toSorted()).toEqual((recorded.cancelIds ?? []).toSorted());
    });
  });

  describe('log entries', () => {
    it.each(readExchanges('log-entries'))('$name', async ({ request, response }) => {
      const body = request.body as CallBody;
      const { executorName } = body;
      await hold(42, queueOf(request.path), executorName);
      const next = typeof response.body === 'number' ? response.body : (body.entryId ?? 1) + 1;
      // As many entries as the recorded instance had.
      if (next > 1) {
        await inject(request.path.replace('update', 'add'), { executorName, jobId: 42, key: 'first' });
        await api.database.query('update job_logs set entries = $1', [next - 1]);
        await api.database.query('update log_entries set entry = $1', [next - 1]);
      }
      expectReply(await inject(request.path, body), response);
    });
  });

  describe('marks', () => {
    it.each(readExchanges('marks'))('$name', async ({ request, response }) => {
      await hold(42, queueOf(request.path), (request.body as CallBody).executorName);
      expectReply(await inject(request.path, request.body as CallBody), response);
    });
  });

  describe('authentication', () => {
    interface Header {
      authorization: string | null;
      jobId?: string | null;
      executorName?: string | null;
      status: number;
      text?: string;
    }
    const recorded = readFixture('authentication') as {
      sharedSecret: string;
      jobToken: string;
      sharedSecretRoutes: Header[];
      jobRoutes: Header[];
    };

    it.each([
      ['/.executors/test/auth', 'sharedSecretRoutes'],
      ['/.executors/git/github.com/acme/widgets/info/refs', 'jobRoutes'],
    ] as const)('of %s', async (url, routes) => {
      const token = await hold(42, 'batches', 'deadbeef');
      api.settings.executorTokens = [recorded.sharedSecret];
      for (const header of recorded[routes]) {
        const headers: Record<string, string> = {};
        if (header.authorization !== null) {
          headers['authorization'] = header.authorization.replace(recorded.jobToken, token);
        }
        if (header.jobId) headers['x-sourcegraph-job-id'] = header.jobId;
        if (header.executorName) headers['x-sourcegraph-executor-name'] = header.executorName;
        const reply = await api.server.inject({ method: 'GET', url, headers });
        expect(reply.statusCode, JSON.stringify(header)).toBe(header.status);
        if (header.text !== undefined) expect(reply.body).toBe(header.text === '' ? '' : `${header.text}\n`);
      }
    });
  });

  it('logged no error', () => {
    expect(api.errors).toEqual([]);
  });
});
