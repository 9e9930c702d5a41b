import {
  compatVersion,
  type ExtensionName,
  extensionNames,
  extensionsHeader,
  heartbeatResponseSchema,
  type Isolation,
  type JobDocument,
  kilnVersion,
  messages,
  parseExtensions,
  parseJobDocument,
  type QueueName,
  sharedSecretScheme,
} from '@kiln/protocol';
import { z } from 'zod';
import { failureOf } from './answers.ts';
import { InstanceError } from './errors.ts';
import { createJobClient, type JobClient, type JobIdentity } from './job-client.ts';
import type { ObserveCall } from './observe-call.ts';
import { type Answer, type Call, createTransport } from './transport.ts';

/** Long poll: how long a dequeue may be held open, and a held heartbeat, in seconds. */
const dequeueWaitSeconds = 25;
const heartbeatWaitSeconds = 5;

export interface InstanceClientOptions {
  baseUrl: URL;
  sharedSecret: string;
  executorName: string;
  queues: { mode: 'single' | 'multi'; names: readonly [QueueName, ...QueueName[]] };
  /** What a job gets here; sent with each dequeue. 0 is no limit. */
  resources: { numCPUs: number; memoryBytes: number; diskBytes: number };
  observe?: ObserveCall;
}

/** A job as a heartbeat names it. */
export interface HeldJob {
  id: number;
  queue: QueueName;
  attempt: number | undefined;
}

export interface Versions {
  os: string;
  architecture: string;
  dockerVersion: string;
  gitVersion: string;
  srcCliVersion: string;
}

export interface HeartbeatReport {
  held: readonly HeldJob[];
  versions: Versions;
  prometheusMetrics: string;
  slots: number;
  isolation: Isolation;
  endedBecause?: string;
  /** Whether the instance may hold the call open until there is something to say. */
  mayWait: boolean;
}

/** Ids in the form in which both sides compare them: {@link heldJobId}. */
export interface HeartbeatVerdict {
  known: ReadonlySet<string>;
  cancel: ReadonlySet<string>;
  drain: boolean;
}

export interface InstanceClient extends AsyncDisposable {
  /** Whether the instance listed an extension in its latest answer. */
  offers(extension: ExtensionName): boolean;
  /** Checks the shared secret. Returns how far the instance's clock is ahead of ours, if it tells the time. */
  testAuth(signal: AbortSignal): Promise<{ clockAheadSeconds: number | undefined }>;
  /**
   * Whether the instance has a queue, asked without registering anybody: a heartbeat of nobody, which every instance
   * refuses.
   * @returns undefined when the refusal is none that tells
   */
  hasQueue(queue: QueueName, signal: AbortSignal): Promise<boolean | undefined>;
  /** Registers the executor and learns the instance's extensions. */
  ping(signal: AbortSignal): Promise<void>;
  /** One try, never repeated here: an answer that was lost may have claimed a job. */
  dequeue(signal: AbortSignal): Promise<JobDocument | undefined>;
  heartbeat(report: HeartbeatReport, signal: AbortSignal): Promise<HeartbeatVerdict>;
  forJob(job: JobIdentity): JobClient;
}

/** `<id>`, or `<id>-<queue>` for an executor of several queues (from the reference). */
export function heldJobId(job: Pick<HeldJob, 'id' | 'queue'>, mode: 'single' | 'multi'): string {
  return mode === 'multi' ? `${job.id}-${job.queue}` : String(job.id);
}

export function createInstanceClient(options: InstanceClientOptions): InstanceClient {
  const { executorName, queues, resources } = options;
  const transport = createTransport(options.baseUrl);
  const authorization = `${sharedSecretScheme} ${options.sharedSecret}`;
  const multi = queues.mode === 'multi';
  const queuePath = multi ? '/.executors/queue' : `/.executors/queue/${queues.names[0]}`;
  const shownQueue = queues.names.join(', ');
  const observe: ObserveCall = options.observe ?? ((_kind, _op, call) => call());
  let offered: ReadonlySet<ExtensionName> = new Set();

  /** Sends with the shared secret; learns from the answer what the instance offers. */
  async function send(call: Omit<Call, 'authorization'>, what: string): Promise<Answer> {
    const answer = await transport.send({ ...call, authorization });
    if (answer.status !== 200 && answer.status !== 204) {
      const failure = failureOf(answer, what, shownQueue);
      if (failure.kind !== 'unauthorized') throw failure;
      throw new InstanceError(
        'unauthorized',
        `${what}: the instance refused the shared secret (${answer.status}); EXECUTOR_FRONTEND_PASSWORD must equal "executors.accessToken" in the instance's site configuration`,
        { status: answer.status },
      );
    }
    offered = parseExtensions((answer.header(extensionsHeader) ?? '').split(','));
    return answer;
  }

  function postHeartbeat(body: Record<string, unknown>, deadlineSeconds: number, signal: AbortSignal) {
    return send(
      {
        method: 'POST',
        path: `${queuePath}/heartbeat`,
        body: {
          executorName,
          ...(multi ? { queueNames: queues.names } : {}),
          extensions: extensionNames,
          kilnVersion,
          ...body,
        },
        deadlineSeconds,
        signal,
      },
      'heartbeat',
    );
  }

  return {
    offers: (extension) => offered.has(extension),

    async testAuth(signal) {
      const answer = await send(
        { method: 'GET', path: '/.executors/test/auth', deadlineSeconds: 10, signal },
        'check of the shared secret',
      );
      const date = Date.parse(answer.header('Date') ?? '');
      return { clockAheadSeconds: Number.isNaN(date) ? undefined : (date - Date.now()) / 1000 };
    },

    async hasQueue(queue, signal) {
      const answer = await transport.send({
        method: 'POST',
        path: `/.executors/queue/${queue}/heartbeat`,
        authorization,
        body: { executorName: '' },
        deadlineSeconds: 10,
        signal,
      });
      const failure = failureOf(answer, `check of queue ${queue}`, queue);
      if (failure.kind === 'unknown_queue') return false;
      return failure.message.includes(messages.executorNameMissing) ? true : undefined;
    },

    async ping(signal) {
      const versionless = {
        os: '',
        architecture: '',
        dockerVersion: '',
        executorVersion: '',
        gitVersion: '',
      };
      await postHeartbeat(
        {
          version: multi ? '' : 'V2',
          ...versionless,
          igniteVersion: '',
          srcCliVersion: '',
          prometheusMetrics: '',
        },
        10,
        signal,
      );
    },

    async dequeue(signal) {
      const waitSeconds = offered.has('long-poll') ? dequeueWaitSeconds : 0;
      const call: Omit<Call, 'authorization'> = {
        method: 'POST',
        path: `${queuePath}/dequeue`,
        body: {
          ...(multi ? { queues: queues.names } : {}),
          executorName,
          version: compatVersion,
          ...(resources.numCPUs === 0 ? {} : { numCPUs: resources.numCPUs }),
          ...(resources.memoryBytes === 0 ? {} : { memory: wireSize(resources.memoryBytes) }),
          ...(resources.diskBytes === 0 ? {} : { diskSpace: wireSize(resources.diskBytes) }),
          extensions: extensionNames,
          kilnVersion,
          ...(waitSeconds === 0 ? {} : { waitSeconds }),
        },
        deadlineSeconds: waitSeconds + 20,
        signal,
      };
      const answer = await observe('queue', 'Dequeue', () => send(call, 'dequeue'));
      return answer.status === 204 ? undefined : readDocument(answer.body);
    },

    async heartbeat(report, signal) {
      const waitSeconds = report.mayWait && offered.has('cancel-push') ? heartbeatWaitSeconds : 0;
      const body = {
        ...(multi
          ? { version: '', ...idsByQueue(report.held, queues.names) }
          : { version: 'V2', jobIds: report.held.length === 0 ? null : report.held.map((job) => job.id) }),
        ...report.versions,
        executorVersion: compatVersion,
        igniteVersion: '',
        prometheusMetrics: report.prometheusMetrics,
        ...(offered.has('attempt') ? { attempts: attemptsOf(report.held, queues.mode) } : {}),
        ...(offered.has('fleet')
          ? {
              slots: report.slots,
              running: report.held.length,
              isolation: report.isolation,
              ...(report.endedBecause === undefined ? {} : { endedBecause: report.endedBecause }),
            }
          : {}),
        ...(waitSeconds === 0 ? {} : { waitSeconds }),
      };
      // Well below the lease of 25 s, so that a hung call leaves time for another.
      const deadlineSeconds = waitSeconds + 8;
      const answer = await observe('queue', 'Heartbeat', () => postHeartbeat(body, deadlineSeconds, signal));
      const parsed = parse(heartbeatResponseSchema, answer.body, 'heartbeat');
      return {
        known: new Set(parsed.knownIds),
        cancel: new Set(parsed.cancelIds),
        drain: parsed.drain ?? false,
      };
    },

    forJob: (job) =>
      createJobClient(transport, job, authorization, (extension) => offered.has(extension), observe),

    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

function attemptsOf(held: readonly HeldJob[], mode: 'single' | 'multi'): Record<string, number> {
  return Object.fromEntries(
    held.flatMap((job) => (job.attempt === undefined ? [] : [[heldJobId(job, mode), job.attempt] as const])),
  );
}

/** Sorted by queue name; left out when no job runs (from the reference). */
function idsByQueue(held: readonly HeldJob[], names: readonly QueueName[]): Record<string, unknown> {
  if (held.length === 0) return {};
  const jobIdsByQueue = [...names].sort().flatMap((queueName) => {
    const jobIds = held.filter((job) => job.queue === queueName).map((job) => String(job.id));
    return jobIds.length === 0 ? [] : [{ queueName, jobIds }];
  });
  return { jobIdsByQueue };
}

/** The largest unit that holds the size as a whole number: `12G`, `512M`. */
function wireSize(bytes: number): string {
  for (const [unit, size] of [
    ['G', 2 ** 30],
    ['M', 2 ** 20],
    ['K', 2 ** 10],
  ] as const) {
    if (bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

function readDocument(body: Buffer): JobDocument {
  try {
    return parseJobDocument(JSON.parse(body.toString('utf8')));
  } catch (error) {
    throw new InstanceError(
      'rejected',
      `dequeue: the instance sent a job that cannot be read: ${describeParseError(error)}`,
    );
  }
}

function parse<Schema extends z.ZodType>(schema: Schema, body: Buffer, what: string): z.output<Schema> {
  try {
    return schema.parse(JSON.parse(body.toString('utf8')));
  } catch (error) {
    throw new InstanceError('rejected', `${what}: the answer cannot be read: ${describeParseError(error)}`);
  }
}

/** Names places and kinds only: the body holds secrets. */
function describeParseError(error: unknown): string {
  if (!(error instanceof z.ZodError)) return 'it is not JSON';
  return error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.code}`).join('; ');
}
