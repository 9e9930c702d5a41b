import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createGzip } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { findJobRow, type Queue } from '../queue/index.ts';
import { type ApiUnderTest, sharedSecret, startApi } from './api-under-test.ts';

/** What only shows on real connections: clients that vanish, large bodies that stream, a server that closes. */
describe('connections of executors', () => {
  let api: ApiUnderTest | undefined;
  afterEach(async () => {
    const errors = api?.errors;
    await api?.[Symbol.asyncDispose]();
    api = undefined;
    expect(errors).toEqual([]);
  });

  async function listen(overrides: Parameters<typeof startApi>[0] = {}): Promise<ApiUnderTest> {
    api = await startApi(overrides);
    await api.server.listen({ port: 0, host: '127.0.0.1' });
    return api;
  }
  function open(path: string, headers: Record<string, string> = {}): ClientRequest {
    const address = api?.server.server.address() as AddressInfo | null | undefined;
    const options = {
      port: address?.port,
      host: '127.0.0.1',
      method: 'POST',
      path: `/.executors/queue/${path}`,
    };
    return request({ ...options, agent: false, headers: { ...sharedSecret, ...headers } });
  }
  async function replyTo(sent: ClientRequest): Promise<{ status: number; body: string }> {
    const [reply] = (await once(sent, 'response')) as [IncomingMessage];
    const body = Buffer.concat(await Array.fromAsync(reply as AsyncIterable<Buffer>)).toString();
    return { status: reply.statusCode ?? 0, body };
  }
  function dequeue(executorName: string, waitSeconds: number): ClientRequest {
    const sent = open('jobs/dequeue');
    sent.end(JSON.stringify({ executorName, version: '5.2.1', extensions: ['long-poll'], waitSeconds }));
    return sent;
  }

  it('a held dequeue is answered as soon as there is a job', async () => {
    const { enqueue } = await listen();
    const held = replyTo(dequeue('e', 30));
    await delay(200);
    const id = await enqueue();
    const { status, body } = await held;
    expect([status, JSON.parse(body).id]).toEqual([200, id]);
  });

  it('nothing is claimed for a client that is gone', async () => {
    const { enqueue, database } = await listen();
    const vanishing = Array.from({ length: 5 }, () => dequeue('vanishing', 30));
    for (const sent of vanishing) sent.on('error', () => undefined);
    await delay(300);
    for (const sent of vanishing) sent.destroy();
    const staying = replyTo(dequeue('staying', 30));
    await delay(100);
    const id = await enqueue();
    expect(JSON.parse((await staying).body)).toMatchObject({ id, attempt: 1 });
    expect(await findJobRow(database, id)).toMatchObject({ executorName: 'staying', resets: 0 });
  });

  it('a claim whose reply cannot be written is undone', async () => {
    const claimed = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    const started = await listen();
    const real = started.queue.dequeue;
    // The claim commits just before the client goes, and the document is built just after.
    const late: Queue['dequeue'] = async (asked) => {
      const claim = await real({ ...asked, signal: new AbortController().signal });
      claimed.resolve();
      await gone.promise;
      return claim;
    };
    started.queue.dequeue = late;
    const id = await started.enqueue();
    const vanishing = dequeue('vanishing', 5);
    vanishing.on('error', () => undefined);
    await claimed.promise;
    expect((await findJobRow(started.database, id))?.state).toBe('processing');
    vanishing.destroy();
    await delay(200);
    gone.resolve();
    started.queue.dequeue = real;
    const { body } = await replyTo(dequeue('staying', 20));
    expect(JSON.parse(body)).toMatchObject({ id, attempt: 2 });
    expect(await findJobRow(started.database, id)).toMatchObject({ executorName: 'staying', resets: 0 });
  });

  it('held requests are answered when the server closes', async () => {
    const { server } = await listen();
    const held = replyTo(dequeue('e', 60));
    await delay(300);
    const started = performance.now();
    await server.close();
    expect((await held).status).toBe(204);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('a log body that breaks off changes nothing', async () => {
    const { enqueue, logs } = await listen();
    const id = await enqueue();
    await replyTo(dequeue('e', 0));
    const sent = open('jobs/addExecutionLogEntry', { 'content-length': '100000' });
    sent.on('error', () => undefined);
    sent.write(JSON.stringify({ executorName: 'e', jobId: id, key: 'k', out: 'x'.repeat(5000) }));
    await delay(200);
    sent.destroy();
    await delay(200);
    expect(await logs.entries(id)).toEqual([]);
  });

  it('a large log body is stored with little memory, plain or gzip', async () => {
    const { enqueue, logs } = await listen();
    const id = await enqueue();
    await replyTo(dequeue('e', 0));
    const line = Buffer.from(`${'stdout: the build goes on and on, é'.repeat(30)}\\n`);
    const chunk = Buffer.concat(Array(60).fill(line));
    const chunks = 1500;
    const lineBytes = line.length - 1;

    async function upload(
      path: string,
      gzip: boolean,
      more: string,
    ): Promise<{ status: number; body: string }> {
      const sent = open(path, gzip ? { 'content-encoding': 'gzip' } : {});
      const target = gzip ? createGzip({ level: 1 }) : sent;
      if (gzip) (target as ReturnType<typeof createGzip>).pipe(sent);
      const reply = replyTo(sent);
      target.write(`{"executorName":"e","jobId":${id},"key":"k",${more}"out":"`);
      for (let count = 0; count < chunks; count++) {
        if (!target.write(chunk)) await once(target, 'drain');
      }
      target.end('","durationMs":5,"exitCode":0}');
      return reply;
    }

    const before = process.memoryUsage().rss;
    let peak = before;
    const sampling = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 20);
    try {
      expect(await upload('jobs/addExecutionLogEntry', false, '')).toEqual({ status: 200, body: '1' });
      expect((await upload('jobs/updateExecutionLogEntry', true, '"entryId":1,')).status).toBe(204);
    } finally {
      clearInterval(sampling);
    }
    const [entry] = await logs.entries(id);
    expect(entry).toMatchObject({ exitCode: 0, durationMs: 5, bytes: lineBytes * 60 * chunks });
    // The client lives in this process too.
    const grownMiB = (peak - before) / 2 ** 20;

    expect(grownMiB).toBeLessThan(100);
    const tail = await logs.output(
      { jobId: id, attempt: 1, entry: 1 },
      { start: (entry?.bytes ?? 0) - 5, end: entry?.bytes ?? 0 },
    );
    expect(Buffer.concat(await Array.fromAsync(tail?.body ?? [])).toString()).toBe(', é\n');
  }, 120_000);
});
