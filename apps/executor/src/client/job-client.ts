import type { Readable } from 'node:stream';
import {
  actorHeader,
  type ExtensionName,
  executorNameHeader,
  jobIdHeader,
  type QueueName,
  type releaseReasons,
  type Usage,
} from '@kiln/protocol';
import type { Dispatcher } from 'undici';
import { failureOf } from './answers.ts';
import { InstanceError } from './errors.ts';
import type { ObserveCall } from './observe-call.ts';
import type { Call, ForwardedRequest, Transport } from './transport.ts';

/** What identifies one run of a job towards the instance. */
export interface JobIdentity {
  id: number;
  queue: QueueName;
  attempt: number | undefined;
  /** Empty: the shared secret is used. */
  token: string;
  /** The executor that claimed the job; differs from ours when a predecessor's outcome is delivered. */
  executorName: string;
}

export interface LogEntryState {
  key: string;
  command: readonly string[];
  startTime: string;
  out: string;
  /** Both absent until the command ended. */
  exitCode?: number;
  durationMs?: number;
}

export interface LogChunk {
  offset: number;
  data: Uint8Array;
  exitCode?: number;
  durationMs?: number;
}

export type MarkKind = 'markComplete' | 'markErrored' | 'markFailed';

/** Calls about one job, authorised by its token. Each is one try. */
export interface JobClient {
  offers(extension: ExtensionName): boolean;
  /** Passes a request to a git route of the instance on, with the job's credentials added. */
  forward(
    request: ForwardedRequest,
    body: Readable | undefined,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData>;
  /** @returns the entry's id */
  addLogEntry(entry: LogEntryState, signal: AbortSignal): Promise<number>;
  updateLogEntry(entryId: number, entry: LogEntryState, signal: AbortSignal): Promise<void>;
  /** @returns the offset at which the instance goes on; other than expected after an answer that was lost */
  appendLog(entryId: number, chunk: LogChunk, signal: AbortSignal): Promise<number>;
  mark(
    kind: MarkKind,
    body: { errorMessage?: string; usage: readonly Usage[] },
    signal: AbortSignal,
  ): Promise<void>;
  release(
    body: { reason: (typeof releaseReasons)[number]; message?: string },
    signal: AbortSignal,
  ): Promise<void>;
  /** Content of a file that the document names by bucket and key. */
  openFile(bucket: string, key: string, signal: AbortSignal): Promise<Readable>;
}

const callSeconds = 20;
/** Updates carry whole outputs. */
const uploadSeconds = 120;

export function createJobClient(
  transport: Transport,
  job: JobIdentity,
  sharedSecret: string,
  offers: (extension: ExtensionName) => boolean,
  observe: ObserveCall,
): JobClient {
  const authorization = job.token === '' ? sharedSecret : `Bearer ${job.token}`;
  const headers = { [jobIdHeader]: String(job.id), [executorNameHeader]: job.executorName };
  const identity = {
    executorName: job.executorName,
    jobId: job.id,
    ...(job.attempt === undefined ? {} : { attempt: job.attempt }),
  };

  async function post(
    route: string,
    body: Record<string, unknown>,
    seconds: number,
    signal: AbortSignal,
    statuses: readonly number[],
  ) {
    const call: Call = {
      method: 'POST',
      path: `/.executors/queue/${job.queue}/${route}`,
      authorization,
      headers,
      body: { ...identity, ...body },
      gzip: offers('log-append'),
      deadlineSeconds: seconds,
      signal,
    };
    // The reference names its operations as the routes, with a capital.
    return observe('queue', route.charAt(0).toUpperCase() + route.slice(1), async () => {
      const answer = await transport.send(call);
      if (!statuses.includes(answer.status)) throw failureOf(answer, `${route} of job ${job.id}`);
      return answer;
    });
  }

  return {
    offers,
    forward: (request, body, signal) =>
      transport.forward(
        {
          ...request,
          headers: {
            ...request.headers,
            Authorization: authorization,
            [actorHeader]: 'internal',
            ...headers,
          },
        },
        body,
        signal,
      ),

    async addLogEntry(entry, signal) {
      const answer = await post('addExecutionLogEntry', renderEntry(entry), uploadSeconds, signal, [200]);
      const id = Number(answer.body.toString('utf8').trim());
      if (!Number.isSafeInteger(id) || id < 1)
        throw new InstanceError(
          'rejected',
          `addExecutionLogEntry of job ${job.id}: the answer is no entry id`,
        );
      return id;
    },

    async updateLogEntry(entryId, entry, signal) {
      await post(
        'updateExecutionLogEntry',
        { entryId, ...renderEntry(entry) },
        uploadSeconds,
        signal,
        [200, 204],
      );
    },

    async appendLog(entryId, chunk, signal) {
      const { data, ...rest } = chunk;
      const body = {
        entryId,
        ...rest,
        data: Buffer.from(data.buffer, data.byteOffset, data.length).toString('base64'),
      };
      const answer = await post('appendExecutionLog', body, uploadSeconds, signal, [200, 409]);
      const nextOffset = readNextOffset(answer.body);
      if (nextOffset === undefined) throw failureOf(answer, `appendExecutionLog of job ${job.id}`);
      return nextOffset;
    },

    async mark(kind, { errorMessage, usage }, signal) {
      const body = {
        ...(errorMessage === undefined ? {} : { errorMessage }),
        ...(usage.length > 0 && offers('usage') ? { usage } : {}),
      };
      await post(kind, body, callSeconds, signal, [200, 204]);
    },

    async release(body, signal) {
      await post('release', body, callSeconds, signal, [200, 204]);
    },

    async openFile(bucket, key, signal) {
      if ([bucket, ...key.split('/')].some((name) => name === '' || name === '.' || name === '..'))
        throw new InstanceError(
          'rejected',
          `file ${bucket}/${key} of job ${job.id}: not the address of a file`,
        );
      const path = `/.executors/files/${[bucket, ...key.split('/')].map(encodeURIComponent).join('/')}`;
      const call: Call = { method: 'GET', path, authorization, headers, deadlineSeconds: 300, signal };
      return observe('files', 'Get', async () => {
        const response = await transport.open(call);
        if (response.statusCode === 200) return response.body;
        const text = (await response.body.text()).slice(0, 500);
        const answer = { status: response.statusCode, body: Buffer.from(text), header: () => undefined };
        throw failureOf(answer, `file ${bucket}/${key} of job ${job.id}`);
      });
    },
  };
}

function renderEntry(entry: LogEntryState): Record<string, unknown> {
  return { ...entry, ...(entry.out === '' ? { out: undefined } : {}) };
}

function readNextOffset(body: Buffer): number | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString('utf8'));
    const offset: unknown =
      typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'nextOffset') : undefined;
    return Number.isSafeInteger(offset) && (offset as number) >= 0 ? (offset as number) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
