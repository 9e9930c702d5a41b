import type { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import type { z } from 'zod';
import { EngineError, EngineUnreachable } from './engine-errors.ts';

/** Docker 20.10. Older daemons lack what we rely on (one-shot stats, default ping group for containers without raw sockets). */
const oldestApiVersion = [1, 41] as const;
/** What this client was written against; a newer daemon is spoken to in this version. */
const newestApiVersion = [1, 47] as const;

export interface EngineCall {
  method: 'GET' | 'POST' | 'DELETE' | 'HEAD';
  /** Below the version prefix, every variable part percent-encoded; see {@link enginePath}. */
  path: string;
  query?: Readonly<Record<string, string>>;
  /** Sent as JSON unless it is a stream. */
  body?: unknown;
  headers?: Readonly<Record<string, string>>;
  /** Until the answer is complete (for streams: until its headers are). */
  deadlineSeconds: number;
  signal?: AbortSignal | undefined;
}

/** Thin client of the Docker Engine API over its Unix socket. */
export interface Engine extends AsyncDisposable {
  readonly socketPath: string;
  /** @throws EngineError, EngineUnreachable, or the signal's reason */
  json<T>(call: EngineCall, schema: z.ZodType<T>): Promise<T>;
  /** For answers whose body does not matter. */
  send(call: EngineCall): Promise<void>;
  /** The answer's body as it comes, without a time limit on it; destroy it to give it up. */
  stream(call: EngineCall): Promise<Readable>;
}

/** Opens no connection yet; the API version is agreed upon with the first call. */
export function openEngine(socketPath: string): Engine {
  const agent = new Agent({ connect: { socketPath }, connections: null, pipelining: 1 });
  let version: Promise<string> | undefined;

  async function negotiated(): Promise<string> {
    version ??= negotiateVersion(agent, socketPath);
    try {
      return await version;
    } catch (error) {
      version = undefined;
      throw error;
    }
  }

  /** `whole` consumes the answer under the same deadline. */
  async function call<T>(
    request: EngineCall,
    whole: (body: Dispatcher.ResponseData['body']) => Promise<T>,
  ): Promise<T> {
    const prefix = await negotiated();
    const query = request.query ? `?${new URLSearchParams(request.query)}` : '';
    return exchange(agent, socketPath, request, `/v${prefix}${request.path}${query}`, whole);
  }

  return {
    socketPath,
    json: async (request, schema) => {
      const value = await call(request, (body) => body.json());
      const parsed = schema.safeParse(value);
      if (parsed.success) return parsed.data;
      throw new EngineError(
        `Docker's answer to ${request.method} ${request.path} is not as documented: ${parsed.error.issues[0]?.path.join('.')} ${parsed.error.issues[0]?.message}`,
        502,
      );
    },
    send: (request) => call(request, (body) => body.dump({ limit: 1024 * 1024 })),
    stream: (request) => call(request, async (body) => body),
    async [Symbol.asyncDispose]() {
      await agent.destroy();
    },
  };
}

/** Joins path segments, each percent-encoded. */
export function enginePath(...segments: string[]): string {
  return segments.map((segment) => `/${encodeURIComponent(segment)}`).join('');
}

async function exchange<T>(
  agent: Agent,
  socketPath: string,
  request: EngineCall,
  path: string,
  whole: (body: Dispatcher.ResponseData['body']) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), request.deadlineSeconds * 1000);
  const signal = request.signal ? AbortSignal.any([request.signal, deadline.signal]) : deadline.signal;
  const isStream = typeof request.body === 'object' && request.body !== null && 'pipe' in request.body;
  try {
    const answer = await agent.request({
      origin: 'http://docker',
      path,
      method: request.method,
      headers: {
        ...(request.body === undefined || isStream ? {} : { 'content-type': 'application/json' }),
        ...request.headers,
      },
      body: isStream
        ? (request.body as Readable)
        : request.body === undefined
          ? null
          : JSON.stringify(request.body),
      signal,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    if (answer.statusCode >= 400)
      throw new EngineError(errorMessage(await answer.body.text()), answer.statusCode);
    return await whole(answer.body);
  } catch (error) {
    if (error instanceof EngineError) throw error;
    request.signal?.throwIfAborted();
    if (deadline.signal.aborted)
      throw new EngineUnreachable(
        `Docker did not answer ${request.method} ${request.path} within ${request.deadlineSeconds} s`,
        { cause: error },
      );
    throw new EngineUnreachable(unreachable(socketPath, error), { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

async function negotiateVersion(agent: Agent, socketPath: string): Promise<string> {
  const call: EngineCall = { method: 'GET', path: '/version', deadlineSeconds: 10 };
  const answer = await exchange(agent, socketPath, call, '/version', (body) => body.json());
  const offered = /^(\d+)\.(\d+)$/.exec(String(Reflect.get(Object(answer), 'ApiVersion')));
  if (!offered) throw new EngineUnreachable(`what answers on ${socketPath} is not a Docker daemon`);
  const version = [Number(offered[1]), Number(offered[2])] as const;
  if (isOlder(version, oldestApiVersion))
    throw new EngineUnreachable(
      `the Docker daemon on ${socketPath} speaks API ${version.join('.')}; Docker 20.10 (API ${oldestApiVersion.join('.')}) or newer is needed`,
    );
  return (isOlder(newestApiVersion, version) ? newestApiVersion : version).join('.');
}

function isOlder(left: readonly [number, number], right: readonly [number, number]): boolean {
  return left[0] < right[0] || (left[0] === right[0] && left[1] < right[1]);
}

function errorMessage(text: string): string {
  try {
    const message: unknown = Reflect.get(Object(JSON.parse(text)), 'message');
    if (typeof message === 'string') return message;
  } catch {
    // Not JSON: shown as it is.
  }
  return text.trim().slice(0, 2000) || 'no reason given';
}

function unreachable(socketPath: string, error: unknown): string {
  const code: unknown = Reflect.get(Object(error), 'code');
  if (code === 'ENOENT')
    return `no Docker daemon listens on ${socketPath}: start it, or name its socket in DOCKER_HOST (unix:///path)`;
  if (code === 'ECONNREFUSED')
    return `the Docker daemon of ${socketPath} is not running (the socket is there, nobody answers): start it`;
  if (code === 'EACCES')
    return `this user may not use Docker's socket ${socketPath}: add it to the socket's group, or run the executor as root`;
  return `the connection to the Docker daemon on ${socketPath} broke: ${error instanceof Error ? error.message : String(error)}`;
}
