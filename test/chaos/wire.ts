import { Agent } from 'undici';
import type { ChaosSite } from './site.ts';

export interface Reply {
  status: number;
  body: unknown;
}

/** Calls an instance over HTTP. Nothing is retried here; a call that gets no answer rejects. */
export interface Wire extends AsyncDisposable {
  submit(url: string, idempotencyKey: string, body: object): Promise<Reply>;
  /** A call with the shared secret: `dequeue`, `heartbeat`. When `signal` aborts the connection is destroyed. */
  executor(url: string, endpoint: string, body: object, signal?: AbortSignal): Promise<Reply>;
  /** A call on a job route, with the job's own token. */
  job(url: string, job: HeldJob, endpoint: string, body: object): Promise<Reply>;
}

export interface HeldJob {
  id: number;
  token: string;
  /** Unknown to an executor without the extension `attempt`. */
  attempt: number | undefined;
  executorName: string;
}

const answerMilliseconds = 45_000;

export function connectWire({ adminToken, sharedSecret }: ChaosSite): Wire {
  const agent = new Agent({ headersTimeout: answerMilliseconds, bodyTimeout: answerMilliseconds });

  async function post(
    origin: string,
    path: string,
    headers: Record<string, string>,
    body: object,
    signal?: AbortSignal,
  ): Promise<Reply> {
    const response = await agent.request({
      origin,
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      ...(signal && { signal }),
    });
    const text = await response.body.text();
    const isJson = /^[[{]/.test(text);
    return { status: response.statusCode, body: isJson ? JSON.parse(text) : text };
  }

  return {
    submit: (url, idempotencyKey, body) =>
      post(
        url,
        '/.api/jobs',
        { authorization: `token ${adminToken}`, 'idempotency-key': idempotencyKey },
        body,
      ),
    executor: (url, endpoint, body, signal) =>
      post(
        url,
        `/.executors/queue/jobs/${endpoint}`,
        { authorization: `token-executor ${sharedSecret}` },
        body,
        signal,
      ),
    job: (url, { id, token, attempt, executorName }, endpoint, body) =>
      post(
        url,
        `/.executors/queue/jobs/${endpoint}`,
        {
          authorization: `Bearer ${token}`,
          'x-sourcegraph-job-id': String(id),
          'x-sourcegraph-executor-name': executorName,
        },
        { executorName, jobId: id, ...(attempt !== undefined && { attempt }), ...body },
      ),
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}
