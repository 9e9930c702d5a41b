import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type JobDocument, type JobView, parseJobDocument } from '@kiln/protocol';
import { pino } from 'pino';
import { startTestDatabase } from '../../../test/kit/database.ts';
import { composeInstance, type Instance, type InstanceOptions } from './compose.ts';
import type { Database } from './database/index.ts';
import { hashAccessToken, newAccessToken } from './features/accounts/access-tokens.ts';

/** A whole instance on a real database, and what people and an executor do with it over HTTP. */
export interface InstanceUnderTest extends AsyncDisposable {
  instance: Instance;
  database: Database;
  databaseURL: string;
  directory: string;
  adminToken: string;
  /** Lines of the instance's log, parsed. */
  logLines: Record<string, unknown>[];
  call(method: string, path: string, options?: CallOptions): Promise<Reply>;
  submit(body: unknown, headers?: Record<string, string>): Promise<JobView>;
  executor: ScriptedExecutor;
}

export interface CallOptions {
  body?: unknown;
  /** Sent as it is, in place of `body`. */
  text?: string | Buffer;
  headers?: Record<string, string>;
  token?: string | null;
  signal?: AbortSignal;
}

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  json: unknown;
}

/** An executor that does what a test says. */
export interface ScriptedExecutor {
  name: string;
  heartbeat(): Promise<void>;
  dequeue(extra?: Record<string, unknown>): Promise<{ status: number; document: JobDocument | undefined }>;
  /** Sends a whole log entry of a job. @returns its number */
  logEntry(job: JobDocument, entry: Record<string, unknown>): Promise<number>;
  post(route: string, job: JobDocument, body: Record<string, unknown>): Promise<Reply>;
  file(job: JobDocument, bucket: string, key: string): Promise<{ status: number; body: Buffer }>;
}

export async function startInstanceUnderTest(
  options: Partial<InstanceOptions> = {},
): Promise<InstanceUnderTest> {
  await using resources = new AsyncDisposableStack();
  const test = resources.use(await startTestDatabase());
  const directory = await mkdtemp(join(tmpdir(), 'kiln-instance-'));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const logLines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logLines.push(JSON.parse(line)) });
  const instance = resources.use(
    await composeInstance({
      dataDirectory: directory,
      databaseURL: test.url,
      listen: { host: '127.0.0.1', port: 0 },
      log,
      shutdownSeconds: 5,
      ...options,
    }),
  );
  const adminToken = (await readFile(join(directory, 'admin-token'), 'utf8')).trim();

  async function call(method: string, path: string, callOptions: CallOptions = {}): Promise<Reply> {
    const { body, text, headers = {}, token = adminToken, signal } = callOptions;
    const content = text ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await fetch(instance.url + path, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `token ${token}` }),
        ...(content === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(content === undefined ? {} : { body: content }),
      ...(signal === undefined ? {} : { signal }),
    });
    const answer = await response.text();
    return { status: response.status, headers: response.headers, text: answer, json: parsed(answer) };
  }

  const moved = resources.move();
  return {
    instance,
    database: test.database,
    databaseURL: test.url,
    directory,
    adminToken,
    logLines,
    call,
    async submit(body, headers = {}) {
      const reply = await call('POST', '/.api/jobs', { body, headers });
      if (reply.status !== 201) throw new Error(`${reply.status}: ${reply.text}`);
      return reply.json as JobView;
    },
    executor: scriptedExecutor(instance.url, async () => {
      const { json } = await call('GET', '/.api/site-config/executor-token');
      return (json as { accessToken: string }).accessToken;
    }),
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

/** @returns an access token of a new user, who is no site admin */
export async function addUser(on: InstanceUnderTest, name: string): Promise<string> {
  const token = newAccessToken();
  await on.database.query(
    `with namespace as (insert into namespaces (name, kind) values ($1, 'user') returning id),
          added as (insert into users (namespace_id) select id from namespace returning id)
     insert into access_tokens (user_id, note, token_sha256) select id, 'test', $2 from added`,
    [name, hashAccessToken(token)],
  );
  return token;
}

/** Waits until `condition` gives something, at most 10 s. */
export async function until<Value>(condition: () => Promise<Value | undefined | false>): Promise<Value> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`did not come about: ${condition}`);
    await delay(20);
  }
}

function scriptedExecutor(url: string, readSecret: () => Promise<string>): ScriptedExecutor {
  const name = 'host-4be4de3f-4f3b-4c67-9c8f-0b3f0d6b3c11';
  const extensions = ['attempt', 'limits'];
  let secret: Promise<string> | undefined;
  const authorization = async () => {
    secret ??= readSecret();
    return `token-executor ${await secret}`;
  };

  async function post(route: string, authorization: string, headers: object, body: object): Promise<Reply> {
    const response = await fetch(`${url}/.executors/queue/${route}`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: parsed(text) };
  }

  function asJob(job: JobDocument) {
    return {
      authorization: `Bearer ${job.token}`,
      headers: { 'x-sourcegraph-job-id': String(job.id), 'x-sourcegraph-executor-name': name },
      ids: { executorName: name, jobId: job.id, attempt: job.attempt },
    };
  }

  const executor: ScriptedExecutor = {
    name,
    async heartbeat() {
      const body = { version: 'V2', executorName: name, queueNames: ['jobs'], jobIdsByQueue: [], extensions };
      const reply = await post('heartbeat', await authorization(), {}, body);
      if (reply.status !== 200) throw new Error(`heartbeat: ${reply.status} ${reply.text}`);
    },
    async dequeue(extra = {}) {
      const body = { executorName: name, version: '6.10.0', queues: ['jobs'], extensions, ...extra };
      const reply = await post('dequeue', await authorization(), {}, body);
      return {
        status: reply.status,
        document: reply.status === 200 ? parseJobDocument(reply.json) : undefined,
      };
    },
    async logEntry(job, entry) {
      const reply = await executor.post('addExecutionLogEntry', job, entry);
      if (reply.status !== 200) throw new Error(`log entry: ${reply.status} ${reply.text}`);
      return Number(reply.text);
    },
    post(route, job, body) {
      const { authorization, headers, ids } = asJob(job);
      return post(`jobs/${route}`, authorization, headers, { ...ids, ...body });
    },
    async file(job, bucket, key) {
      const { authorization, headers } = asJob(job);
      const response = await fetch(`${url}/.executors/files/${bucket}/${key}`, {
        headers: { authorization, ...headers },
      });
      return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
    },
  };
  return executor;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
