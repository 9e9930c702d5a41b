import { gzipSync } from 'node:zlib';
import { extensionNames, messages } from '@kiln/protocol';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findJobRow } from '../queue/index.ts';
import { type ApiUnderTest, secret, sharedSecret, startApi } from './api-under-test.ts';

type Body = object | string | Buffer;

/** Requests shaped as those of genuine executors (from the reference), and Kiln's extensions. */
describe('the executor protocol', () => {
  let api: ApiUnderTest;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    api.document = {};
    await api.database.query('delete from jobs');
  });

  async function post(path: string, payload: Body, headers: Record<string, string> = sharedSecret) {
    const reply = await api.server.inject({
      method: 'POST',
      url: `/.executors/queue/${path}`,
      headers: { 'content-type': 'application/json', ...headers },
      payload,
    });
    return { status: reply.statusCode, body: reply.body, headers: reply.headers };
  }
  const json = (reply: { body: string }): unknown => JSON.parse(reply.body);

  interface Held {
    id: number;
    token: string;
    attempt: number;
    headers: Record<string, string>;
  }
  async function claim(executorName = 'deadbeef', queue = 'jobs', more: object = {}): Promise<Held> {
    const reply = await post(`${queue}/dequeue`, { executorName, version: '5.2.1', ...more });
    expect(reply.status, reply.body).toBe(200);
    const { id, token, attempt } = JSON.parse(reply.body);
    const headers = {
      authorization: `Bearer ${token}`,
      'X-Sourcegraph-Job-ID': String(id),
      'X-Sourcegraph-Executor-Name': executorName,
    };
    return { id, token, attempt, headers };
  }

  describe('dequeue', () => {
    it('answers 204 when there is nothing to do', async () => {
      const single = await post('batches/dequeue', { executorName: 'deadbeef', version: '0.0.0+dev' });
      expect([single.status, single.body]).toEqual([204, '']);
      const multi = { executorName: 'deadbeef', version: 'dev', queues: ['batches', 'codeintel'] };
      expect((await post('dequeue', multi)).status).toBe(204);
      expect((await post('dequeue', { executorName: 'deadbeef', version: 'dev' })).status).toBe(204);
      expect(single.headers['kiln-extensions']).toBe(extensionNames.join(', '));
    });

    it('renders version 1 as the reference does, with the attempt beside it', async () => {
      const id = await api.enqueue({ queue: 'codeintel' });
      const request = { executorName: 'test-executor', numCPUs: 1, memory: '1GB', diskSpace: '10GB' };
      const reply = await post('codeintel/dequeue', request);
      expect(reply.status).toBe(200);
      expect(json(reply)).toEqual({
        id,
        token: expect.stringMatching(/^[0-9a-f]{40}$/),
        attempt: 1,
        repositoryName: '',
        repositoryDirectory: '',
        commit: '',
        fetchTags: false,
        shallowClone: false,
        sparseCheckout: null,
        files: {},
        dockerSteps: null,
        cliSteps: null,
        redactedValues: null,
      });
    });

    it('renders version 2 for those that read it, with the queue when several were asked', async () => {
      await api.enqueue({ queue: 'codeintel' });
      api.document = {
        files: { 'a.txt': { content: Buffer.from('hello') }, 'b.txt': { bucket: 'jobs', key: 'x/y' } },
        dockerSteps: [{ key: '', image: 'alpine:3', commands: ['true'], dir: '.', env: [] }],
        dockerAuthConfig: { auths: { 'hub.docker.com': { auth: 'aHVudGVyOmh1bnRlcjI=' } } },
      };
      const queues = ['batches', 'codeintel'];
      const reply = await post('dequeue', { executorName: 'deadbeef', version: 'dev', queues });
      expect(json(reply)).toMatchObject({
        version: 2,
        queue: 'codeintel',
        files: {
          'a.txt': { content: 'aGVsbG8=', modifiedAt: '0001-01-01T00:00:00Z' },
          'b.txt': { bucket: 'jobs', key: 'x/y', modifiedAt: '0001-01-01T00:00:00Z' },
        },
        dockerSteps: [{ image: 'alpine:3', commands: ['true'], dir: '.', env: null }],
        dockerAuthConfig: { auths: { 'hub.docker.com': { auth: 'aHVudGVyOmh1bnRlcjI=' } } },
      });
    });

    it('names limits only to executors that know them', async () => {
      api.document = { network: 'none', resources: { memoryBytes: 1 } };
      await api.enqueue({ needsLimits: true });
      expect((await post('jobs/dequeue', { executorName: 'genuine', version: '5.2.1' })).status).toBe(204);
      const limits = { executorName: 'kiln', version: '5.2.1', extensions: ['limits', 'nonsense'] };
      expect(json(await post('jobs/dequeue', limits))).toMatchObject({
        timeoutSeconds: 1800,
        network: 'none',
        resources: { memoryBytes: 1 },
      });
      await api.enqueue();
      const other = json(await post('jobs/dequeue', { executorName: 'other', version: '5.2.1' }));
      expect(other).not.toHaveProperty('timeoutSeconds');
    });

    it('takes any call of the job for its confirmation', async () => {
      const id = await api.enqueue({ repositoryName: 'r' });
      const { headers } = await claim('confirming', 'jobs', { extensions: ['confirm'] });
      const isAwaited = async () => {
        const [row] = await api.database.query<{ awaited: boolean }>(
          'select confirm_by is not null as awaited from jobs where id = $1',
          [id],
        );
        return row?.awaited;
      };
      expect(await isAwaited()).toBe(true);
      await api.server.inject({ method: 'GET', url: '/.executors/git/r/info/refs', headers });
      expect(await isAwaited()).toBe(false);
    });

    it('refuses mistakes with 4xx and the reason', async () => {
      const refusals: [string, object, string][] = [
        ['jobs/dequeue', { version: 'dev' }, messages.executorNameMissing],
        [
          'jobs/dequeue',
          { executorName: 'x'.repeat(256) },
          'executorName must have 1 to 255 characters and no control characters',
        ],
        [
          'jobs/dequeue',
          { executorName: 'a\nb' },
          'executorName must have 1 to 255 characters and no control characters',
        ],
        [
          'jobs/dequeue',
          { executorName: 'e', version: '\n1.2' },
          'failed to check version "\\n1.2": Invalid Semantic Version',
        ],
        [
          'dequeue',
          { executorName: 'e', queues: ['batches', 'invalidqueue'] },
          "Invalid queue name(s) 'invalidqueue' found. Supported queue names are 'batches, codeintel, jobs'.",
        ],
      ];
      for (const [path, body, error] of refusals) {
        const reply = await post(path, body);
        expect([reply.status, json(reply)]).toEqual([400, { error }]);
      }
    });

    it('fails a job whose document cannot be built, or puts it off, and goes on to the next', async () => {
      const failing = await api.enqueue();
      const delayed = await api.enqueue();
      const fine = await api.enqueue();
      const build = api.producer.document;
      api.producer.document = async (claims, reader) => {
        const documents = await build(claims, reader);
        if (documents.has(failing)) return new Map([...documents, [failing, { problem: 'no such secret' }]]);
        if (documents.has(delayed)) throw new Error('the database is away');
        return documents;
      };
      try {
        expect((await claim()).id).toBe(fine);
      } finally {
        api.producer.document = build;
      }
      expect(await findJobRow(api.database, failing)).toMatchObject({
        state: 'failed',
        failureKind: 'document',
        failureMessage: 'failed to transform record: no such secret',
      });
      expect(await findJobRow(api.database, delayed)).toMatchObject({ state: 'queued' });
      expect(api.errors.splice(0)).toHaveLength(1);
      const orphan = await api.enqueue({ producer: 'nobody' });
      expect((await post('jobs/dequeue', { executorName: 'e' })).status).toBe(204);
      expect((await findJobRow(api.database, orphan))?.failureKind).toBe('document');
    });

    it('sends files that are no text only to executors that read bytes', async () => {
      api.document = { files: { 'a.bin': { content: Buffer.from([0xff, 0x00]) } } };
      const id = await api.enqueue();
      expect((await post('jobs/dequeue', { executorName: 'old', version: '4.2.0' })).status).toBe(204);
      expect(await findJobRow(api.database, id)).toMatchObject({ state: 'queued' });
      await api.enqueue();
      expect(json(await post('jobs/dequeue', { executorName: 'new', version: '4.3.0' }))).toMatchObject({
        files: { 'a.bin': { content: '/wA=' } },
      });
    });

    it('gives nothing to an executor that is being drained', async () => {
      await api.enqueue();
      await post('jobs/heartbeat', { version: 'V2', executorName: 'drained', jobIds: null });
      await api.executors.setDraining('drained', true);
      expect((await post('jobs/dequeue', { executorName: 'drained' })).status).toBe(204);
      await api.executors.setDraining('drained', false);
      expect((await post('jobs/dequeue', { executorName: 'drained' })).status).toBe(200);

      const asked = { executorName: 'drained', extensions: ['long-poll'], waitSeconds: 30 };
      const started = performance.now();
      const held = post('jobs/dequeue', asked);
      await post('jobs/heartbeat', { version: 'V2', executorName: 'drained' });
      await api.executors.setDraining('drained', true);
      expect((await held).status).toBe(204);
      expect(performance.now() - started).toBeLessThan(10_000);
    });

    it('remembers how the executor isolates the job', async () => {
      const isolation = { runtime: 'docker' };
      await post('jobs/heartbeat', { version: 'V2', executorName: 'isolating', isolation });
      const id = await api.enqueue();
      await claim('isolating');
      expect((await findJobRow(api.database, id))?.isolation).toEqual(isolation);
    });
  });

  describe('heartbeat', () => {
    it('reads ids of every shape and answers with strings', async () => {
      const ids = [await api.enqueue(), await api.enqueue()].sort();
      await claim();
      await claim();
      const jobIds = [ids[0], String(ids[1]), '999999', 12, '-1', '99999999999999999999'.slice(1)];
      const reply = await post('jobs/heartbeat', {
        version: 'V2',
        executorName: 'deadbeef',
        jobIds,
        os: 'linux',
        architecture: 'amd64',
        dockerVersion: '1',
        executorVersion: '5.2.1',
        gitVersion: '2',
        igniteVersion: '3',
        srcCliVersion: '4',
        prometheusMetrics: '',
      });
      const body = json(reply) as { knownIds: string[]; cancelIds: string[] };
      expect(body.knownIds.sort()).toEqual(ids.map(String).sort());
      expect(body.cancelIds).toEqual([]);
      expect(Object.keys(body)).toEqual(['knownIds', 'cancelIds']);
      await api.queue.cancel(ids[0] ?? 0);
      const again = await post('jobs/heartbeat', { version: 'V2', executorName: 'deadbeef', jobIds: ids });
      expect(json(again)).toMatchObject({ cancelIds: [String(ids[0])] });
      const other = await post('jobs/heartbeat', { version: 'V2', executorName: 'another', jobIds: ids });
      expect(json(other)).toEqual({ knownIds: [], cancelIds: [] });
      const otherQueue = await post('batches/heartbeat', {
        version: 'V2',
        executorName: 'deadbeef',
        jobIds: ids,
      });
      expect(json(otherQueue)).toEqual({ knownIds: [], cancelIds: [] });
    });

    it('answers several queues with the queue in each id', async () => {
      const id = await api.enqueue({ queue: 'batches' });
      await claim('deadbeef', 'batches');
      const reply = await post('heartbeat', {
        version: '',
        executorName: 'deadbeef',
        jobIdsByQueue: [{ queueName: 'batches', jobIds: [String(id), '77'] }],
        queueNames: ['batches', 'codeintel'],
      });
      expect(json(reply)).toEqual({ knownIds: [`${id}-batches`], cancelIds: [] });
      const ping = await post('heartbeat', { executorName: 'deadbeef', queueNames: ['batches'] });
      expect([ping.status, json(ping)]).toEqual([200, { knownIds: [], cancelIds: [] }]);
    });

    it('answers executors before heartbeat V2 with a bare array', async () => {
      const id = await api.enqueue();
      await claim();
      expect((await post('jobs/heartbeat', { executorName: 'deadbeef', jobIds: [id, 5] })).body).toBe(
        `[${id}]`,
      );
      expect((await post('jobs/heartbeat', { executorName: 'deadbeef' })).body).toBe('[]');
      const kiln = { executorName: 'deadbeef', extensions: ['fleet'] };
      expect(json(await post('jobs/heartbeat', kiln))).toEqual({ knownIds: [], cancelIds: [], drain: false });
    });

    it('leaves stale attempts out', async () => {
      const id = await api.enqueue();
      await claim();
      const beat = (attempts: object) =>
        post('jobs/heartbeat', { version: 'V2', executorName: 'deadbeef', jobIds: [id], attempts });
      expect(json(await beat({ [id]: 1 }))).toMatchObject({ knownIds: [String(id)] });
      expect(json(await beat({ [id]: 2 }))).toMatchObject({ knownIds: [] });
    });

    it('registers the executor, tells it to drain, and keeps its metrics', async () => {
      const beat = {
        version: 'V2',
        executorName: 'fleet-1',
        extensions: ['fleet', 'limits'],
        kilnVersion: '0.1.0',
        slots: 4,
        running: 1,
        isolation: { runtime: 'microvm', vmm: 'qemu' },
        prometheusMetrics: 'x_total 1\n',
      };
      expect(json(await post('jobs/heartbeat', beat))).toMatchObject({ drain: false });
      await api.executors.setDraining('fleet-1', true);
      expect(json(await post('jobs/heartbeat', { ...beat, endedBecause: 'spot' }))).toMatchObject({
        drain: true,
      });
      const [executor] = (await api.executors.list()).filter(({ name }) => name === 'fleet-1');
      expect(executor).toMatchObject({
        slots: 4,
        running: 1,
        draining: true,
        endedBecause: 'spot',
        queues: ['jobs'],
      });
      expect(await api.executors.metrics.expose()).toContain('x_total{sg_instance="fleet-1"');
    });

    it('is held until a cancel or draining, when the executor asks for that', async () => {
      const id = await api.enqueue();
      await claim('held');
      const extensions = ['cancel-push', 'fleet'];
      const beat = { version: 'V2', executorName: 'held', jobIds: [id], extensions, waitSeconds: 10 };
      const timed = async (body: object) => {
        const started = performance.now();
        const reply = json(await post('jobs/heartbeat', body));
        return { reply, ms: performance.now() - started };
      };
      const canceling = timed(beat);
      await post('jobs/heartbeat', { version: 'V2', executorName: 'held', jobIds: [id] });
      await api.queue.cancel(id);
      const canceled = await canceling;
      expect(canceled.reply).toMatchObject({ cancelIds: [String(id)] });
      expect(canceled.ms).toBeLessThan(3000);

      const idle = { ...beat, jobIds: null };
      const draining = timed(idle);
      await post('jobs/heartbeat', { version: 'V2', executorName: 'held' });
      await api.executors.setDraining('held', true);
      const drained = await draining;
      expect(drained.reply).toMatchObject({ drain: true });
      expect(drained.ms).toBeLessThan(3000);
      const resuming = timed(idle);
      await api.executors.setDraining('held', false);
      expect((await resuming).reply).toMatchObject({ drain: false });
      // Genuine executors are answered at once.
      expect((await timed({ ...beat, jobIds: null, extensions: [] })).ms).toBeLessThan(3000);
    });

    it('refuses mistakes with 4xx and the reason', async () => {
      const refusals: [string, object, string][] = [
        ['heartbeat', { executorName: '' }, messages.executorNameMissing],
        ['heartbeat', { executorName: 'e' }, messages.queueNamesMissing],
        [
          'heartbeat',
          { executorName: 'e', queueNames: ['a', 'b'], jobIdsByQueue: [{ queueName: 'x', jobIds: [] }] },
          "unsupported queue name(s) 'x' submitted in queueJobIds, executor is configured for queues 'a, b'",
        ],
        [
          'jobs/heartbeat',
          { executorName: 'e', version: 'V2', jobIds: ['1+foo', '3baz'] },
          'failed to parse one or more unexpected job ID formats: 1+foo, 3baz',
        ],
      ];
      for (const [path, body, error] of refusals) {
        const reply = await post(path, body);
        expect([reply.status, json(reply)]).toEqual([400, { error }]);
      }
      const bad = await post('jobs/heartbeat', { executorName: 'e', jobIds: [{}] });
      expect(bad.status).toBe(400);
      expect(bad.body).toMatch(/^Failed to unmarshal payload: .*unknown type for job ID: \{\}\n$/);
    });
  });

  describe('logs', () => {
    const vector = {
      key: 'foo',
      command: ['ls', '-a'],
      startTime: '2020-04-20T15:29:17.123456789Z',
      exitCode: 123,
      out: '<log payload>',
      durationMs: 23123,
    };

    it('numbers added entries and replaces them whole', async () => {
      const id = await api.enqueue();
      const { headers } = await claim();
      const call = { executorName: 'deadbeef', jobId: id };
      const { exitCode: _e, durationMs: _d, ...running } = vector;
      const added = await post('jobs/addExecutionLogEntry', { ...call, ...running }, headers);
      expect([added.status, added.body]).toEqual([200, '1']);
      const second = await post('jobs/addExecutionLogEntry', { ...call, key: 'bar', command: null }, headers);
      expect(second.body).toBe('2');
      const update = { ...call, entryId: 1, ...vector, out: '<log payload> and more' };
      const updated = await post('jobs/updateExecutionLogEntry', update, headers);
      expect([updated.status, updated.body]).toEqual([204, '']);
      expect((await api.logs.entries(id))[0]).toEqual({
        attempt: 1,
        entry: 1,
        key: 'foo',
        command: ['ls', '-a'],
        startedAt: '2020-04-20T15:29:17.123Z',
        exitCode: 123,
        durationMs: 23123,
        bytes: 22,
      });
      const missing = await post('jobs/updateExecutionLogEntry', { ...update, entryId: 3 }, headers);
      expect([missing.status, json(missing)]).toEqual([404, { error: 'unknown job' }]);
    });

    it('appends, and says where to go on', async () => {
      const id = await api.enqueue();
      const { headers } = await claim();
      const call = { executorName: 'deadbeef', jobId: id, attempt: 1 };
      await post('jobs/addExecutionLogEntry', { ...call, key: 'k' }, headers);
      const append = (offset: number, data: string, more: object = {}) =>
        post(
          'jobs/appendExecutionLog',
          gzipSync(
            JSON.stringify({
              ...call,
              entryId: 1,
              offset,
              data: Buffer.from(data).toString('base64'),
              ...more,
            }),
          ),
          { ...headers, 'content-encoding': 'gzip' },
        );
      expect(json(await append(0, 'abc'))).toEqual({ nextOffset: 3 });
      expect(json(await append(0, 'abc'))).toEqual({ nextOffset: 3 });
      const gap = await append(7, 'abc');
      expect([gap.status, json(gap)]).toEqual([409, { nextOffset: 3 }]);
      expect((await append(3, '\n', { exitCode: 0, durationMs: 5 })).status).toBe(200);
      const stale = await append(4, 'x', { attempt: 2 });
      expect([stale.status, json(stale)]).toEqual([409, { error: 'stale attempt' }]);
      expect((await append(4, 'x', { entryId: 2 })).status).toBe(404);
      expect((await api.logs.entries(id))[0]).toMatchObject({ exitCode: 0, durationMs: 5, bytes: 4 });
    });

    it('refuses callers that do not hold the job', async () => {
      const id = await api.enqueue();
      const entry = { executorName: 'deadbeef', jobId: id, ...vector };
      const unknown = [404, { error: 'unknown job' }];
      const queued = await post('jobs/addExecutionLogEntry', entry);
      expect([queued.status, json(queued)]).toEqual(unknown);
      await claim();
      const other = await post('jobs/addExecutionLogEntry', { ...entry, executorName: 'other' });
      expect([other.status, json(other)]).toEqual(unknown);
      const zero = await post('jobs/addExecutionLogEntry', { ...entry, jobId: 0 });
      expect([zero.status, json(zero)]).toEqual(unknown);
      expect((await post('jobs/addExecutionLogEntry', { ...entry, executorName: '' })).status).toBe(400);
      expect((await post('jobs/addExecutionLogEntry', { ...entry, attempt: 5 })).status).toBe(404);
      expect((await post('jobs/addExecutionLogEntry', { ...entry, attempt: 2 ** 40 })).status).toBe(409);
      expect((await post('jobs/addExecutionLogEntry', entry)).body).toBe('1');
    });

    it('reads keys in any case and NUL in any text', async () => {
      const id = await api.enqueue();
      const { headers } = await claim();
      const body = `{"ExecutorName":"deadbeef","JOBID":${id},"Key":"a\\u0000b","command":["\\u0000"],"OUT":"x\\u0000y"}`;
      expect((await post('jobs/addExecutionLogEntry', body, headers)).body).toBe('1');
      expect((await api.logs.entries(id))[0]).toMatchObject({
        key: 'a\ufffdb',
        command: ['\ufffd'],
        bytes: 3,
      });
    });
  });

  describe('marks', () => {
    it('end a job, and are accepted again', async () => {
      for (const [route, body, expected] of [
        ['markComplete', {}, { state: 'completed' }],
        [
          'markErrored',
          { errorMessage: 'OH NO' },
          { state: 'failed', failureKind: 'errored', failureMessage: 'OH NO' },
        ],
        [
          'markFailed',
          { errorMessage: 'OH NO' },
          { state: 'failed', failureKind: 'failed', failureMessage: 'OH NO' },
        ],
      ] as const) {
        const id = await api.enqueue();
        const { headers } = await claim();
        const mark = {
          executorName: 'deadbeef',
          jobId: id,
          usage: [{ key: 'step.docker.0', cpuSeconds: 1.5 }],
          ...body,
        };
        for (const auth of [headers, headers, sharedSecret]) {
          const reply = await post(`jobs/${route}`, mark, auth);
          expect([reply.status, reply.body]).toEqual([204, '']);
        }
        expect(await findJobRow(api.database, id)).toMatchObject({
          ...expected,
          usage: [{ key: 'step.docker.0', cpuSeconds: 1.5 }],
        });
        const late = await post('jobs/addExecutionLogEntry', {
          executorName: 'deadbeef',
          jobId: id,
          key: 'k',
        });
        expect(late.status).toBe(404);
      }
    });

    it('answers 404 null to those that do not hold the job', async () => {
      const id = await api.enqueue();
      await claim();
      for (const body of [
        { executorName: 'other', jobId: id },
        { executorName: 'deadbeef', jobId: 424242 },
      ]) {
        const reply = await post('jobs/markComplete', body);
        expect([reply.status, reply.body]).toEqual([404, 'null']);
      }
      expect((await post('jobs/markComplete', { jobId: id })).status).toBe(400);
      await post('jobs/release', { executorName: 'deadbeef', jobId: id, attempt: 1, reason: 'shutdown' });
      await claim('deadbeef');
      const stale = await post('jobs/markComplete', { executorName: 'deadbeef', jobId: id, attempt: 1 });
      expect([stale.status, json(stale)]).toEqual([409, { error: 'stale attempt' }]);
    });

    it('release gives a job back', async () => {
      const id = await api.enqueue();
      const { headers } = await claim();
      const body = { executorName: 'deadbeef', jobId: id, attempt: 1, reason: 'drain' };
      expect((await post('jobs/release', { ...body, reason: 'boredom' }, headers)).status).toBe(400);
      expect((await post('jobs/release', body, headers)).status).toBe(204);
      expect(await findJobRow(api.database, id)).toMatchObject({ state: 'queued', resets: 0 });
      expect((await claim('deadbeef-2')).attempt).toBe(2);
      expect((await post('jobs/release', body, headers)).status).toBe(401);
      const stale = await post('jobs/markComplete', { ...body, executorName: 'deadbeef-2' });
      expect(stale.status).toBe(409);
    });
  });

  describe('files', () => {
    it('come from the producer of the bucket, by token or shared secret', async () => {
      const id = await api.enqueue();
      const { headers } = await claim();
      const bytes = Buffer.from('0123456789');
      api.producer.file = async (claims, key) =>
        key === 'a/b' && (claims === undefined || claims.jobId === id)
          ? {
              sizeBytes: bytes.length,
              open: async () =>
                (async function* () {
                  yield bytes;
                })(),
            }
          : undefined;
      const send = (method: 'GET' | 'HEAD', url: string, auth: Record<string, string>) =>
        api.server.inject({ method, url: `/.executors/files/${url}`, headers: auth });
      for (const auth of [headers, sharedSecret]) {
        const got = await send('GET', 'jobs/a/b', auth);
        expect([got.statusCode, got.body, got.headers['content-length']]).toEqual([200, '0123456789', '10']);
        const head = await send('HEAD', 'jobs/a/b', auth);
        expect([head.statusCode, head.body, head.headers['content-length']]).toEqual([200, '', '10']);
        const missing = await send('GET', 'jobs/a/c', auth);
        expect([missing.statusCode, missing.body]).toEqual([404, 'workspace file does not exist\n']);
        const missingHead = await send('HEAD', 'jobs/a/c', auth);
        expect([missingHead.statusCode, missingHead.body]).toEqual([404, '']);
      }
      const batches = await send('GET', 'batch-changes/spec/file', sharedSecret);
      expect([batches.statusCode, batches.body]).toEqual([404, 'workspace file does not exist\n']);
      expect((await send('GET', 'batch-changes/spec/file', headers)).statusCode).toBe(403);
    });
  });

  describe('bodies', () => {
    it('are JSON of any type, gzip or not', async () => {
      const headers = { ...sharedSecret, 'content-type': 'text/whatever' };
      expect((await post('jobs/dequeue', '{"executorName":"e"}', headers)).status).toBe(204);
      const gzip = { ...sharedSecret, 'content-encoding': 'gzip' };
      expect((await post('jobs/dequeue', gzipSync('{"executorName":"e"}'), gzip)).status).toBe(204);
      const withoutType = await api.server.inject({
        method: 'POST',
        url: '/.executors/queue/jobs/dequeue',
        headers: { authorization: `token-executor ${secret}` },
        payload: Buffer.from('{"executorName":"e"}'),
      });
      expect(withoutType.statusCode).toBe(204);
    });

    it('are refused with a reason when they cannot be read', async () => {
      const gzip = { ...sharedSecret, 'content-encoding': 'gzip' };
      const cut = gzipSync(JSON.stringify({ executorName: 'e', version: 'x'.repeat(5000) })).subarray(0, 30);
      for (const [body, headers, status, text] of [
        ['', sharedSecret, 400, /^Failed to unmarshal payload: EOF\n$/],
        ['{', sharedSecret, 400, /^Failed to unmarshal payload: .+\n$/],
        ['[]', sharedSecret, 400, /^Failed to unmarshal payload: .+\n$/],
        ['null', sharedSecret, 400, /^Failed to unmarshal payload: .+\n$/],
        ['{"executorName":5}', sharedSecret, 400, /^Failed to unmarshal payload: executorName: .+\n$/],
        ['plain', gzip, 400, /^Failed to unmarshal payload: malformed gzip body/],
        [cut, gzip, 400, /^Failed to unmarshal payload: malformed gzip body/],
        ['{}', { ...sharedSecret, 'content-encoding': 'br' }, 415, /not supported/],
        [`{"executorName":"${'e'.repeat(2 ** 20)}"}`, sharedSecret, 413, /1 MiB/],
        [gzipSync(Buffer.alloc(3 * 2 ** 20, ' ')), gzip, 413, /1 MiB/],
      ] as const) {
        const reply = await post('jobs/dequeue', body, headers);
        expect([reply.status, reply.body]).toEqual([status, expect.stringMatching(text)]);
        expect(reply.headers['content-type']).toBe('text/plain; charset=utf-8');
        expect(reply.headers['x-content-type-options']).toBe('nosniff');
      }
    });
  });

  it('logged no error', () => {
    expect(api.errors).toEqual([]);
  });
});
