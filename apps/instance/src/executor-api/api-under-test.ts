import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { JobDocument } from '@kiln/protocol';
import { emptyDocument } from '@kiln/protocol/testing';
import { pino } from 'pino';
import { startTestDatabase } from '../../../../test/kit/database.ts';
import { openLocalBlobs } from '../blobs/index.ts';
import type { Database } from '../database/index.ts';
import { type Executors, openExecutors } from '../features/executors/index.ts';
import type { HttpServer } from '../http.ts';
import { type Logs, openLogs } from '../logs/index.ts';
import { createQueue, type NewJob, type Producer, type Queue } from '../queue/index.ts';
import { createServer } from '../server.ts';
import { type ExecutorApiOptions, executorApi } from './index.ts';

/** The executor API on a real database, with a producer and a repository whose answers tests choose. */
export interface ApiUnderTest extends AsyncDisposable {
  server: HttpServer;
  database: Database;
  queue: Queue;
  logs: Logs;
  executors: Executors;
  settings: { executorTokens: string[]; requireJobTokens: boolean };
  /** Merged into the document of each job. */
  document: Partial<JobDocument>;
  producer: Producer;
  /** Errors that the API logged. */
  errors: string[];
  enqueue(job?: Partial<NewJob>): Promise<number>;
}

export const secret = 'a-shared-secret-of-some-length';
export const sharedSecret = { authorization: `token-executor ${secret}` };

export async function startApi(overrides: Partial<ExecutorApiOptions> = {}): Promise<ApiUnderTest> {
  await using resources = new AsyncDisposableStack();
  const { database } = resources.use(await startTestDatabase());
  const directory = await mkdtemp(join(tmpdir(), 'kiln-executor-api-'));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const errors: string[] = [];
  const log = pino(
    { level: 'error' },
    {
      write: (line: string) => void errors.push(line),
    },
  );
  const queue = resources.use(await createQueue({ database, log }));
  const blobs = await openLocalBlobs(join(directory, 'blobs'));
  const maxBytesPerJob = () => 2 * 1024 ** 3;
  const logs = resources.use(await openLogs({ database, blobs, queue, maxBytesPerJob, log }));
  const executors = resources.use(await openExecutors(database, log));
  const server = await createServer({ log });
  const api: Omit<ApiUnderTest, keyof AsyncDisposable> = {
    server,
    database,
    queue,
    logs,
    executors,
    settings: { executorTokens: [secret], requireJobTokens: false },
    document: {},
    producer: {
      name: 'test',
      bucket: 'jobs',
      document: async (claims) =>
        new Map(
          claims.map(({ id, token }) => [id, { ...emptyDocument, id, token, ...api.document }] as const),
        ),
    },
    errors,
    enqueue: (job = {}) =>
      database.transaction((transaction) =>
        queue.enqueue(transaction, {
          queue: 'jobs',
          tenant: 1,
          producer: 'test',
          priority: 0,
          needsLimits: false,
          timeoutSeconds: 1800,
          repositoryName: null,
          ...job,
        }),
      ),
  };
  await server.register(async (scope) =>
    executorApi(scope, {
      queue,
      logs,
      executors,
      repositories: {
        serveGit: async ({ repositoryName, path, query }) => ({
          status: 200,
          headers: { 'content-type': 'text/x-test' },
          body: Readable.from([`${repositoryName} ${path} ${query}`]),
        }),
      },
      producers: [api.producer],
      siteConfig: {
        current: () => ({
          ...api.settings,
          externalURL: undefined,
          retention: { jobsDays: 90, auditDays: 365 },
          logs: { maxBytesPerJob: maxBytesPerJob() },
          openIDConnect: undefined,
        }),
      },
      spoolDirectory: join(directory, 'spool'),
      log,
      ...overrides,
    }),
  );
  resources.defer(async () => {
    await server.close();
  });
  const stop = resources.move();
  return Object.assign(api, { [Symbol.asyncDispose]: () => stop.disposeAsync() });
}
