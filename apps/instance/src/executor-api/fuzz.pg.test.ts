import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiUnderTest, sharedSecret, startApi } from './api-under-test.ts';

/** Values of the wrong type, at the edges of what columns and readers hold, and hostile text. */
const value = fc.oneof(
  { depthSize: 'small', maxDepth: 2 },
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(
    0,
    -1,
    1.5,
    2 ** 31,
    2 ** 53,
    -(2 ** 63),
    1e308,
    '',
    '\0',
    '\ud800',
    "'; drop table jobs; --",
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59+23:59',
    '2020-02-30T00:00:00Z',
    null,
    [],
    {},
    [null],
    { __proto__: null, constructor: 1 },
    'x'.repeat(5000),
  ),
);
const fields = [
  'executorName',
  'jobId',
  'attempt',
  'queues',
  'version',
  'numCPUs',
  'memory',
  'extensions',
  'waitSeconds',
  'jobIds',
  'jobIdsByQueue',
  'queueNames',
  'attempts',
  'slots',
  'isolation',
  'endedBecause',
  'prometheusMetrics',
  'os',
  'entryId',
  'key',
  'command',
  'startTime',
  'exitCode',
  'durationMs',
  'out',
  'offset',
  'data',
  'errorMessage',
  'usage',
  'reason',
  'message',
];
const routes = [
  'dequeue',
  'heartbeat',
  'batches/dequeue',
  'jobs/heartbeat',
  'jobs/addExecutionLogEntry',
  'jobs/updateExecutionLogEntry',
  'jobs/appendExecutionLog',
  'jobs/markComplete',
  'jobs/markErrored',
  'jobs/markFailed',
  'jobs/release',
];

describe('hostile bodies', () => {
  let api: ApiUnderTest;
  let jobId: number;
  beforeAll(async () => {
    api = await startApi();
    jobId = await api.enqueue();
    await hold();
  });
  afterAll(() => api?.[Symbol.asyncDispose]());

  /** Makes the executor hold the job, with one log entry. */
  async function hold(): Promise<void> {
    await api.queue.retry(jobId);
    const post = (route: string, payload: object) =>
      api.server.inject({
        method: 'POST',
        url: `/.executors/queue/${route}`,
        headers: sharedSecret,
        payload,
      });
    await post('jobs/dequeue', { executorName: 'e' });
    const added = await post('jobs/addExecutionLogEntry', { executorName: 'e', jobId, key: 'k' });
    expect(added.body).toBe('1');
  }

  async function send(route: string, payload: Buffer, headers: Record<string, string> = {}): Promise<void> {
    const reply = await api.server.inject({
      method: 'POST',
      url: `/.executors/queue/${route}`,
      headers: { ...sharedSecret, ...headers },
      payload,
    });
    expect([200, 204, 400, 403, 404, 409, 413, 415], `${reply.statusCode} ${reply.body}`).toContain(
      reply.statusCode,
    );
    // What is refused says why; 404 `null` is the reference's.
    if (reply.statusCode >= 400) expect(reply.body.length).toBeGreaterThan(3);
    expect(reply.body.length).toBeLessThan(2000);
    // The fuzzing goes on with a job that is held, else it ends at the first question.
    if (reply.statusCode === 204 && /mark|release/.test(route)) await hold();
  }

  it('of the right outline are refused or accepted, never answered with 5xx', async () => {
    const body = fc.record(
      {
        ...Object.fromEntries(fields.map((name) => [name, value])),
        waitSeconds: fc.constantFrom(0, -1, 'x', null),
      },
      { requiredKeys: [] },
    );
    const mutated = fc.tuple(
      fc.constantFrom(...routes),
      fc.record({
        executorName: fc.constant('e'),
        jobId: fc.constant('own'),
        entryId: fc.constant(1),
        key: fc.constant('k'),
      }),
      fc.subarray(fields, { maxLength: 3 }),
      body,
    );
    await fc.assert(
      fc.asyncProperty(mutated, async ([route, valid, broken, hostile]) => {
        const sent: Record<string, unknown> = {
          ...valid,
          jobId,
          offset: 0,
          queues: ['jobs'],
          queueNames: ['jobs'],
        };
        for (const name of broken) sent[name] = Reflect.get(hostile, name);
        await send(route, Buffer.from(JSON.stringify(sent)));
      }),
      { numRuns: 250 },
    );
  });

  it('of any bytes are refused', async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
      fc.json({ maxDepth: 5 }).map((text) => Buffer.from(text)),
      fc
        .constantFrom(
          '['.repeat(100_000),
          '{"a":'.repeat(50_000),
          '{"executorName":"e","jobIds":['.repeat(9),
          '\ufeff{}',
        )
        .map((text) => Buffer.from(text)),
    );
    const encoding = fc.constantFrom('', 'gzip', 'zipped');
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...routes), bytes, encoding, async (route, body, encoded) => {
        if (encoded === '') return send(route, body);
        await send(route, encoded === 'zipped' ? gzipSync(body) : body, { 'content-encoding': 'gzip' });
      }),
      { numRuns: 120 },
    );
  });

  it('with hostile headers are refused', async () => {
    const header = fc.string({
      unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)),
    });
    const url = fc.constantFrom(
      '/.executors/queue/jobs/markComplete',
      '/.executors/git/a/b/git-upload-pack',
      '/.executors/queue/dequeue',
    );
    await fc.assert(
      fc.asyncProperty(url, header, header, header, fc.boolean(), async (path, token, id, name, hex) => {
        const reply = await api.server.inject({
          method: 'POST',
          url: path,
          headers: {
            authorization: `Bearer ${hex ? Buffer.from(token.padEnd(20)).toString('hex').slice(0, 40) : token}`,
            'x-sourcegraph-job-id': id,
            'x-sourcegraph-executor-name': name,
          },
          payload: {},
        });
        expect([400, 401, 403]).toContain(reply.statusCode);
      }),
      { numRuns: 120 },
    );
  });

  it('did no harm and were no errors of ours', async () => {
    expect(api.errors).toEqual([]);
    const reply = await api.server.inject({
      method: 'GET',
      url: '/.executors/test/auth',
      headers: sharedSecret,
    });
    expect(reply.statusCode).toBe(200);
  });
});
