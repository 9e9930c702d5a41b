import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type JobDocument, messages, renderJobDocument } from '@kiln/protocol';
import { emptyDocument } from '@kiln/protocol/testing';
import { serveGit } from './plain-git.ts';

/** A job as the test double keeps it. */
export interface PlainJob {
  id: number;
  queue: string;
  state: 'queued' | 'processing' | 'completed' | 'failed' | 'canceled';
  cancel: boolean;
  executorName: string;
  lastHeartbeatAt: number;
  resets: number;
  failureMessage: string | undefined;
  logs: PlainLogEntry[];
  document: JobDocument;
  tokenHash: string;
}

export interface PlainLogEntry {
  key: string;
  command: string[] | null;
  startTime: string;
  out?: string;
  exitCode?: number;
  durationMs?: number;
}

export interface PlainRequest {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  /** Parsed; undefined for what is not JSON. */
  body: Record<string, unknown> | undefined;
}

export interface PlainInstance extends AsyncDisposable {
  readonly url: URL;
  readonly sharedSecret: string;
  readonly jobs: readonly PlainJob[];
  /** Every request, in order. */
  readonly requests: readonly PlainRequest[];
  enqueue(job: Partial<JobDocument>, queue?: string): PlainJob;
  /** Resolves when the job has ended. */
  ended(job: PlainJob): Promise<PlainJob>;
  cancel(job: PlainJob): void;
  /** Gives the job to nobody, as if another executor had been given it. */
  lose(job: PlainJob): void;
  /** Closes the port and all connections; what is stored stays. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
}

export interface PlainInstanceOptions {
  queues?: readonly string[];
  /** Bare repositories by name. */
  repositories?: Readonly<Record<string, string>>;
  /** Workspace files by `<bucket>/<key>`. */
  files?: Readonly<Record<string, Uint8Array>>;
  /** Path in front of every route. */
  basePath?: string;
  stalledSeconds?: number;
  documentVersion?: 1 | 2;
}

/**
 * TEST DOUBLE of an instance that knows the reference's executor protocol and none of Kiln's extensions: in memory, one
 * process, routes 1 to 14 with the reference's answers. It shows that an executor works for a genuine instance.
 */
export async function startPlainInstance(options: PlainInstanceOptions = {}): Promise<PlainInstance> {
  const queues = options.queues ?? ['batches', 'codeintel'];
  const basePath = options.basePath ?? '';
  const sharedSecret = randomBytes(16).toString('hex');
  const jobs: PlainJob[] = [];
  const requests: PlainRequest[] = [];
  const watchers = new Set<() => void>();
  let server = newServer();
  await listen(server, 0);
  const { port } = server.address() as AddressInfo;

  function newServer(): Server {
    return createServer((request, response) => {
      handle(request, response).catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(500);
        response.end(JSON.stringify({ error: String(error) }));
      });
    });
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://plain');
    const path = pathname.startsWith(basePath) ? pathname.slice(basePath.length) : '';
    const git = /^\/\.executors\/git\/(.+?)(\/info\/refs|\/git-upload-pack)$/.exec(path);
    const bytes = git === null ? await readAll(request) : Buffer.alloc(0);
    requests.push({
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: parseObject(bytes),
    });
    if (git !== null) {
      const name = decodeURIComponent(git[1] ?? '');
      const refusal = jobAuthRefusal(request, (job) => job.document.repositoryName === name);
      const directory = options.repositories?.[name];
      if (refusal !== undefined) text(response, ...refusal);
      else if (directory === undefined) text(response, 404, 'repository not found');
      else await serveGit(directory, git[2] ?? '', request, response);
      return;
    }
    if (path === '/.executors/test/auth') {
      if (authorized(request, response)) response.end('ok');
      return;
    }
    const file = /^\/\.executors\/files\/(batch-changes\/.+)$/.exec(path);
    if (file !== null) {
      const refusal = jobAuthRefusal(request, (job) => job.queue === 'batches');
      const content = options.files?.[decodeURIComponent(file[1] ?? '')];
      if (refusal !== undefined) text(response, ...refusal);
      else if (content === undefined) text(response, 404, 'workspace file does not exist');
      else response.end(content);
      return;
    }
    const route = /^\/\.executors\/queue\/(?:([^/]+)\/)?([^/]+)$/.exec(path);
    const [, queue, action] = route ?? [];
    if (action === undefined || (queue !== undefined && !queues.includes(queue))) {
      text(response, 404, '404 page not found');
      return;
    }
    const body = parseObject(bytes);
    if (body === undefined) {
      text(response, 400, 'Failed to unmarshal payload: unexpected end of JSON input');
      return;
    }
    if (action === 'dequeue' || action === 'heartbeat') {
      if (!authorized(request, response)) return;
      if (typeof body['executorName'] !== 'string' || body['executorName'] === '')
        json(response, 500, { error: messages.executorNameMissing });
      else if (action === 'dequeue') dequeue(response, body, queue);
      else heartbeat(response, body, queue);
      return;
    }
    const refusal = jobAuthRefusal(request, (job) => job.queue === queue);
    if (refusal === undefined) jobRoute(response, action, body, queue ?? '');
    else text(response, ...refusal);
  }

  function dequeue(response: ServerResponse, body: Record<string, unknown>, queue: string | undefined): void {
    resetStalled();
    const asked = queue === undefined ? strings(body['queues']) : [queue];
    const invalid = asked.filter((name) => !queues.includes(name));
    if (invalid.length > 0) {
      json(response, 500, { error: messages.invalidQueues(invalid, queues) });
      return;
    }
    const job = jobs.find((candidate) => candidate.state === 'queued' && asked.includes(candidate.queue));
    if (job === undefined) {
      response.writeHead(204).end();
      return;
    }
    const token = randomBytes(20).toString('hex');
    Object.assign(job, {
      state: 'processing',
      executorName: body['executorName'],
      lastHeartbeatAt: performance.now(),
      logs: [],
      tokenHash: sha256(token),
    });
    const document = { ...job.document, token, ...(queue === undefined ? { queue: job.queue } : {}) };
    json(response, 200, renderJobDocument(document as JobDocument, options.documentVersion ?? 2));
    changed();
  }

  function heartbeat(
    response: ServerResponse,
    body: Record<string, unknown>,
    queue: string | undefined,
  ): void {
    resetStalled();
    const named =
      queue === undefined
        ? ((body['jobIdsByQueue'] as { queueName: string; jobIds: string[] }[] | undefined) ?? []).flatMap(
            (entry) => entry.jobIds.map((id) => ({ id: Number(id), queue: entry.queueName })),
          )
        : ((body['jobIds'] as (number | string)[] | null) ?? []).map((id) => ({ id: Number(id), queue }));
    const known = jobs.filter(
      (job) =>
        job.state === 'processing' &&
        job.executorName === body['executorName'] &&
        named.some(({ id, queue: name }) => id === job.id && name === job.queue),
    );
    for (const job of known) job.lastHeartbeatAt = performance.now();
    const shown = (job: PlainJob) => (queue === undefined ? `${job.id}-${job.queue}` : String(job.id));
    const cancelIds = known.filter((job) => job.cancel).map(shown);
    json(response, 200, { knownIds: known.map(shown), cancelIds: cancelIds.length === 0 ? null : cancelIds });
  }

  function jobRoute(
    response: ServerResponse,
    action: string,
    body: Record<string, unknown>,
    queue: string,
  ): void {
    const job = jobs.find(
      (candidate) =>
        candidate.id === body['jobId'] &&
        candidate.queue === queue &&
        candidate.state === 'processing' &&
        candidate.executorName === body['executorName'],
    );
    const { executorName: _name, jobId: _id, entryId, ...entry } = body;
    if (action === 'addExecutionLogEntry' && job !== undefined) {
      json(response, 200, job.logs.push(entry as unknown as PlainLogEntry));
    } else if (action === 'updateExecutionLogEntry' && job?.logs[Number(entryId) - 1] !== undefined) {
      job.logs[Number(entryId) - 1] = entry as unknown as PlainLogEntry;
      response.writeHead(204).end();
    } else if (action.endsWith('ExecutionLogEntry')) {
      json(response, 500, { error: messages.unknownJob });
    } else if (!['markComplete', 'markErrored', 'markFailed'].includes(action)) {
      text(response, 404, '404 page not found');
    } else if (job === undefined) {
      json(response, 404, null);
    } else {
      job.state = action === 'markComplete' ? 'completed' : job.cancel ? 'canceled' : 'failed';
      job.failureMessage = typeof body['errorMessage'] === 'string' ? body['errorMessage'] : undefined;
      job.tokenHash = '';
      response.writeHead(204).end();
      changed();
    }
  }

  function resetStalled(): void {
    const before = performance.now() - (options.stalledSeconds ?? 25) * 1000;
    for (const job of jobs) {
      if (job.state !== 'processing' || job.lastHeartbeatAt > before) continue;
      job.resets++;
      job.state = job.resets > 3 ? 'failed' : 'queued';
      if (job.state === 'failed') job.failureMessage = messages.lostTooOften;
      changed();
    }
  }

  /** Auth A of the reference. */
  function authorized(request: IncomingMessage, response: ServerResponse): boolean {
    const value = request.headers.authorization ?? '';
    const [scheme, token, ...rest] = value.split(' ');
    if (value === '') text(response, 401, messages.sharedSecretMissing);
    else if (token === undefined || rest.length > 0) text(response, 401, messages.sharedSecretForm);
    else if (scheme !== 'token-executor') text(response, 401, messages.sharedSecretScheme);
    else if (token !== sharedSecret) response.writeHead(401).end();
    else return true;
    return false;
  }

  /** Auth B of the reference. */
  function jobAuthRefusal(
    request: IncomingMessage,
    fits: (job: PlainJob) => boolean,
  ): [status: number, message: string] | undefined {
    const [scheme, token = ''] = (request.headers.authorization ?? '').split(' ');
    if (scheme === 'token-executor') return token === sharedSecret ? undefined : [403, ''];
    if (scheme !== 'Bearer') return [401, messages.jobAuthScheme];
    if (token === '') return [401, messages.jobAuthMissing];
    const id = request.headers['x-sourcegraph-job-id'];
    if (id === undefined) return [400, messages.jobIdMissing];
    if ((request.headers['x-sourcegraph-executor-name'] ?? '') === '')
      return [400, messages.executorNameMissing];
    const job = jobs.find((candidate) => candidate.tokenHash === sha256(token));
    if (job === undefined) return [401, messages.invalidToken];
    return String(job.id) === id && fits(job) ? undefined : [403, messages.invalidToken];
  }

  function changed(): void {
    for (const watcher of watchers) watcher();
  }

  return {
    url: new URL(`http://127.0.0.1:${port}${basePath}`),
    sharedSecret,
    jobs,
    requests,
    enqueue(document, queue = queues[0] ?? 'batches') {
      const id = jobs.length + 1;
      const job: PlainJob = {
        id,
        queue,
        state: 'queued',
        cancel: false,
        executorName: '',
        lastHeartbeatAt: 0,
        resets: 0,
        failureMessage: undefined,
        logs: [],
        document: { ...emptyDocument, ...document, id, token: '' },
        tokenHash: '',
      };
      jobs.push(job);
      return job;
    },
    ended(job) {
      return new Promise((resolve) => {
        const look = () => {
          if (job.state === 'queued' || job.state === 'processing') return;
          watchers.delete(look);
          resolve(job);
        };
        watchers.add(look);
        look();
      });
    },
    cancel(job) {
      job.cancel = true;
      if (job.state === 'queued') job.state = 'canceled';
      changed();
    },
    lose(job) {
      job.executorName = 'somebody-else';
      job.tokenHash = '';
    },
    async goAway() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
    async comeBack() {
      server = newServer();
      await listen(server, port);
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status).end(JSON.stringify(body));
}

function text(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(message === '' ? '' : `${message}\n`);
}

function sha256(value: string): string {
  return createHash('sha256').update(value).digest('hex');
}
