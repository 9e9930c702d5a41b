import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { InstanceError } from './errors.ts';

const compress = promisify(gzip);

export interface Call {
  method: 'GET' | 'POST';
  /** Below the instance's base path, beginning with `/`, already percent-encoded. */
  path: string;
  authorization: string;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  body?: unknown;
  /** Only towards an instance known to read it. */
  gzip?: boolean;
  /** From the call to the last byte of the answer. */
  deadlineSeconds: number;
  signal: AbortSignal;
}

export interface Answer {
  status: number;
  header(name: string): string | undefined;
  body: Buffer;
}

/** HTTP to one instance: joins addresses, authorises, and never waits longer than the call's deadline. */
export interface Transport extends AsyncDisposable {
  /**
   * @throws InstanceError `unreachable` when there is no complete answer in time
   * @throws the signal's reason when it aborts
   */
  send(call: Call): Promise<Answer>;
  /** As {@link send}, with the body as a stream that the caller reads to its end or destroys. */
  open(call: Call): Promise<Dispatcher.ResponseData>;
  /** Passes a request on with its body as it comes; only the beginning of the answer has a deadline, and each pause in it. */
  forward(
    request: ForwardedRequest,
    body: Readable | undefined,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData>;
}

export interface ForwardedRequest {
  method: 'GET' | 'POST';
  path: string;
  headers: Record<string, string>;
  answerSeconds: number;
}

/** More than any job document of 10 MiB submitted bytes in base64, and far from what would exhaust memory. */
const maxAnswerBytes = 256 * 2 ** 20;

/** @param baseUrl the instance's address; its path is kept in front of every call's */
export function createTransport(baseUrl: URL): Transport {
  const agent = new EnvHttpProxyAgent({ keepAliveTimeout: 30_000, connect: { timeout: 10_000 } });
  const base = baseUrl.href.replace(/\/+$/, '');

  async function open(call: Call): Promise<Dispatcher.ResponseData> {
    call.signal.throwIfAborted();
    const deadline = AbortSignal.timeout(call.deadlineSeconds * 1000);
    const json = call.body === undefined ? undefined : JSON.stringify(call.body);
    const zipped = json !== undefined && call.gzip === true && json.length > 1024;
    try {
      return await request(`${base}${call.path}`, {
        method: call.method,
        dispatcher: agent,
        signal: AbortSignal.any([call.signal, deadline]),
        headersTimeout: call.deadlineSeconds * 1000,
        bodyTimeout: call.deadlineSeconds * 1000,
        headers: {
          Authorization: call.authorization,
          'Content-Type': 'application/json',
          ...(zipped ? { 'Content-Encoding': 'gzip' } : {}),
          ...call.headers,
        },
        body: json === undefined ? null : zipped ? await compress(json, { level: 1 }) : json,
      });
    } catch (error) {
      call.signal.throwIfAborted();
      throw unreachable(call, deadline.aborted, error);
    }
  }

  return {
    open,
    async send(call) {
      const response = await open(call);
      const chunks: Buffer[] = [];
      let length = 0;
      try {
        for await (const chunk of response.body as AsyncIterable<Buffer>) {
          length += chunk.length;
          if (length > maxAnswerBytes) throw new Error(`the answer is longer than ${maxAnswerBytes} bytes`);
          chunks.push(chunk);
        }
      } catch (error) {
        call.signal.throwIfAborted();
        throw unreachable(call, false, error);
      }
      const { headers, statusCode: status } = response;
      return {
        status,
        body: Buffer.concat(chunks),
        header(name) {
          const value = headers[name.toLowerCase()];
          return Array.isArray(value) ? value.join(', ') : value;
        },
      };
    },
    async forward({ method, path, headers, answerSeconds }, body, signal) {
      try {
        return await request(`${base}${path}`, {
          method,
          dispatcher: agent,
          signal,
          headersTimeout: answerSeconds * 1000,
          bodyTimeout: answerSeconds * 1000,
          headers,
          body: body ?? null,
        });
      } catch (error) {
        signal.throwIfAborted();
        throw new InstanceError('unreachable', `${method} ${base}${path}: ${describe(error)}`, {
          cause: error,
        });
      }
    },
    async [Symbol.asyncDispose]() {
      await agent.destroy();
    },
  };

  function unreachable(call: Call, timedOut: boolean, cause: unknown): InstanceError {
    const why = timedOut ? `no answer within ${call.deadlineSeconds} s` : describe(cause);
    return new InstanceError('unreachable', `${call.method} ${base}${call.path}: ${why}`, { cause });
  }
}

/** Connection errors hide their cause in `code`, or in the errors of each address tried. */
function describe(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) return describe(cause.errors[0]);
  return cause instanceof Error ? cause.message || String(Reflect.get(cause, 'code')) : String(cause);
}
