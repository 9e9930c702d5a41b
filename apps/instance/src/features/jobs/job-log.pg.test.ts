import type { JobDocument, JobView } from '@kiln/protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type InstanceUnderTest, startInstanceUnderTest } from '../../instance-under-test.ts';

let site: InstanceUnderTest;
beforeAll(async () => {
  site = await startInstanceUnderTest();
});
afterAll(() => site[Symbol.asyncDispose]());

const startTime = '2026-01-01T00:00:00Z';

async function startJob(): Promise<{ job: JobView; document: JobDocument }> {
  const job = await site.submit({ steps: [{ image: 'a', run: 'b' }] });
  const { document } = await site.executor.dequeue();
  if (!document) throw new Error('nothing was given out');
  return { job, document };
}

interface ServerSentEvent {
  id: string;
  event: string;
  data: Record<string, unknown>;
}

/** Reads a job's events until `enough` of them came or the stream ends. */
async function events(
  id: number,
  enough: (events: ServerSentEvent[]) => boolean,
  headers: Record<string, string> = {},
): Promise<ServerSentEvent[]> {
  const leaving = new AbortController();
  const response = await fetch(`${site.instance.url}/.api/jobs/${id}/log`, {
    headers: { authorization: `token ${site.adminToken}`, accept: 'text/event-stream', ...headers },
    signal: AbortSignal.any([leaving.signal, AbortSignal.timeout(20_000)]),
  });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const read: ServerSentEvent[] = [];
  let rest = '';
  const decoder = new TextDecoder();
  for await (const piece of response.body ?? []) {
    const blocks = (rest + decoder.decode(piece, { stream: true })).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const [, sentId, event, data] = /^id: (.*)\nevent: (.*)\ndata: (.*)$/.exec(block) ?? [];
      if (sentId !== undefined && event !== undefined && data !== undefined) {
        read.push({ id: sentId, event, data: JSON.parse(data) });
      }
    }
    if (enough(read)) break;
  }
  leaving.abort();
  return read;
}

function outputOf(read: readonly ServerSentEvent[]): string {
  return read
    .filter((one) => one.event === 'output')
    .map((one) => Buffer.from(String(one.data['data']), 'base64').toString())
    .join('');
}

describe('the log as events', () => {
  test('follows a job to its end, and resumes where a connection broke', async () => {
    const { job, document } = await startJob();
    const entryId = await site.executor.logEntry(document, {
      key: 'step.docker.0',
      command: ['sh'],
      startTime,
      out: 'stdout: one\n',
    });
    const before = await events(job.id, (read) => outputOf(read).includes('one'));
    expect(before.map((one) => one.event)).toEqual(['job', 'entry', 'output']);
    expect(before[0]?.data).toMatchObject({ state: 'processing', executor: site.executor.name });

    const after = events(job.id, () => false, { 'last-event-id': before.at(-1)?.id ?? '' });
    const update = { key: 'step.docker.0', command: ['sh'], startTime, entryId };
    await site.executor.post('updateExecutionLogEntry', document, {
      ...update,
      out: 'stdout: one\nstderr: two\n',
    });
    await site.executor.post('updateExecutionLogEntry', document, {
      ...update,
      out: 'stdout: one\nstderr: two\nstdout: three\n',
      exitCode: 4,
      durationMs: 20,
    });
    await site.executor.post('markErrored', document, { errorMessage: 'exit code 4' });
    const read = await after;
    expect(outputOf(read)).toBe('stderr: two\nstdout: three\n');
    expect(read.find((one) => one.event === 'entry')?.data).toMatchObject({ exitCode: 4, durationMs: 20 });
    expect(read.filter((one) => one.event === 'job').at(-1)?.data).toMatchObject({
      state: 'failed',
      failureMessage: 'exit code 4',
    });
    expect(read.at(-1)).toMatchObject({ event: 'end', data: { state: 'failed' } });
  });

  test('says how a waiting job waits, and that it was canceled', async () => {
    const job = await site.submit({ steps: [{ image: 'a', run: 'b' }], queue: 'batches' });
    const first = await events(job.id, (read) => read.length === 1);
    expect(first[0]?.data).toMatchObject({ state: 'queued', waiting: { code: 'no_executor' } });
    const following = events(job.id, () => false);
    await site.call('POST', `/.api/jobs/${job.id}/cancel`);
    expect((await following).at(-1)).toMatchObject({ event: 'end', data: { state: 'canceled' } });
  });

  test('a cursor that cannot be read starts from the beginning', async () => {
    const { job, document } = await startJob();
    await site.executor.logEntry(document, {
      key: 'k',
      command: [],
      startTime,
      out: 'x',
      exitCode: 0,
      durationMs: 1,
    });
    await site.executor.post('markComplete', document, {});
    const read = await events(job.id, () => false, { 'last-event-id': 'nonsense' });
    expect(outputOf(read)).toBe('x');
  });
});

describe('the log as text', () => {
  test('follows a job to its end', async () => {
    const { job, document } = await startJob();
    const following = site.call('GET', `/.api/jobs/${job.id}/log?follow=1`);
    await site.executor.logEntry(document, {
      key: 'k',
      command: ['c'],
      startTime,
      out: 'stdout: x',
      exitCode: 0,
      durationMs: 1,
    });
    await site.executor.post('markComplete', document, {});
    const reply = await following;
    expect(reply.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(reply.text).toBe('[k] $ c\nstdout: x\n[k] exit code 0 after 0.0 s\n[job] completed\n');
  });

  test('of a running job ends where it is', async () => {
    const { job, document } = await startJob();
    await site.executor.logEntry(document, { key: 'k', command: ['c'], startTime, out: 'stdout: x\n' });
    expect((await site.call('GET', `/.api/jobs/${job.id}/log`)).text).toBe('[k] $ c\nstdout: x\n');
    await site.executor.post('markComplete', document, {});
  });
});

describe('the output of one entry', () => {
  test('is served whole and in ranges, as it was logged', async () => {
    const { job, document } = await startJob();
    const out = `stdout: ${'0123456789'.repeat(1000)}\n`;
    await site.executor.logEntry(document, {
      key: 'k',
      command: [],
      startTime,
      out,
      exitCode: 0,
      durationMs: 1,
    });
    await site.executor.post('markComplete', document, {});
    const path = `/.api/jobs/${job.id}/logEntries/1/output`;
    const whole = await site.call('GET', path);
    expect(whole).toMatchObject({ status: 200, text: out });
    expect(Object.fromEntries(whole.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': String(out.length),
      'accept-ranges': 'bytes',
    });
    const part = await site.call('GET', path, { headers: { range: 'bytes=8-17' } });
    expect(part).toMatchObject({ status: 206, text: '0123456789' });
    expect(part.headers.get('content-range')).toBe(`bytes 8-17/${out.length}`);
    expect((await site.call('GET', path, { headers: { range: 'bytes=-2' } })).text).toBe('9\n');
    const beyond = await site.call('GET', path, { headers: { range: `bytes=${out.length}-` } });
    expect(beyond).toMatchObject({ status: 416, json: { error: { code: 'range_not_satisfiable' } } });
    expect(beyond.headers.get('content-range')).toBe(`bytes */${out.length}`);
    expect((await site.call('GET', `${path}?attempt=1`)).status).toBe(200);
    expect((await site.call('GET', `${path}?attempt=2`)).status).toBe(404);
    expect((await site.call('GET', `/.api/jobs/${job.id}/logEntries/2/output`)).status).toBe(404);
  });
});
