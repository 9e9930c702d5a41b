import { join } from 'node:path';
import type { Logger } from 'pino';
import { ApiError } from './api-error.ts';
import { openLocalBlobs } from './blobs/index.ts';
import {
  claimBlobDirectory,
  dataDirectoryId,
  lockDataDirectory,
  makeDataDirectory,
} from './data-directory.ts';
import { migrate, openDatabase } from './database/index.ts';
import type { TrustProxy } from './env.ts';
import { executorApi } from './executor-api/index.ts';
import {
  createAccounts,
  createFirstAdmin,
  createOpenIDConnect,
  createOrganizations,
  createUsers,
  deleteExpiredSignIns,
  openIDRoutes,
  organizationRoutes,
  sessionRoutes,
  tokenRoutes,
  userRoutes,
} from './features/accounts/index.ts';
import { executorRoutes, openExecutors } from './features/executors/index.ts';
import {
  cancelAllJobs,
  countOrphanFiles,
  createJobs,
  createProducer,
  deleteOldJobs,
  deleteOrphanFiles,
  forgetSubmitter,
  jobRoutes,
} from './features/jobs/index.ts';
import { createRepositories, type GitEnvironment, repositoryRoutes } from './features/repositories/index.ts';
import {
  createSealedTexts,
  createSecrets,
  deleteOldUses,
  forgetUserOfSecrets,
  openKeyRing,
  secretRoutes,
} from './features/secrets/index.ts';
import { openSiteConfig, siteConfigRoutes } from './features/site-config/index.ts';
import { healthRoutes } from './health.ts';
import type { HttpServer } from './http.ts';
import { createLog } from './instance-log.ts';
import { type ListenAddress, urlOf } from './listen-address.ts';
import { openLogs } from './logs/index.ts';
import { createMetrics, metricsRoute, serveMetrics } from './metrics/index.ts';
import { createQueue, queueCounts } from './queue/index.ts';
import { createServer } from './server.ts';
import { startUpkeep } from './upkeep.ts';

export interface InstanceOptions {
  /** Made when it is missing. */
  dataDirectory: string;
  listen?: ListenAddress;
  /** A PostgreSQL database in place of the embedded one. */
  databaseURL?: string | undefined;
  /** Log archives and submitted files; else `blobs` in the data directory. Shared by all instances on one database. */
  blobDirectory?: string | undefined;
  /** Keys that encrypt secrets, or a file with them; else `secret-key` in the data directory, made at the first start. */
  secretKey?: string | undefined;
  secretKeyFile?: string | undefined;
  /** Deletes the secrets whose key is lost; else the instance does not start without it. */
  forgetSecrets?: boolean | undefined;
  /** A site configuration of the operator's, only read; else it is in the database. */
  siteConfigFile?: string | undefined;
  trustProxy?: TrustProxy | undefined;
  /** A second address that serves `/metrics` only, without a token. */
  metricsListen?: ListenAddress | undefined;
  logLevel?: string;
  /** The environment, of which git is given the search path, proxies, certificates and the agent of ssh. */
  gitEnvironment?: GitEnvironment;
  /** In place of the log on standard error. */
  log?: Logger;
  /** How long stopping waits for requests in progress. */
  shutdownSeconds?: number;
}

/** A running instance. Disposing stops it: no new requests, held ones are answered, then everything is closed. */
export interface Instance extends AsyncDisposable {
  /** Where it listens, with the port that was taken. */
  readonly url: string;
  /** An absolute path. */
  readonly dataDirectory: string;
}

const defaultListen: ListenAddress = { host: '127.0.0.1', port: 3080 };

/**
 * Starts an instance: the one place that knows all rooms and how they fit together. Resolves when it listens.
 * @throws SettingsError, DatabaseStartError, SiteConfigError, SecretKeyError and errors of the operating system, with everything closed again
 */
export async function composeInstance(options: InstanceOptions): Promise<Instance> {
  const log = options.log ?? createLog(options.logLevel ?? 'info');
  const dataDirectory = await makeDataDirectory(options.dataDirectory);
  // Released in the reverse order: first the server stops, last the database.
  await using resources = new AsyncDisposableStack();

  if (options.databaseURL !== undefined) resources.use(await lockDataDirectory(dataDirectory, log));
  const database = resources.use(
    await openDatabase({ dataDirectory, databaseURL: options.databaseURL, log }),
  );
  await migrate({ database, log });

  const blobDirectory = options.blobDirectory ?? join(dataDirectory, 'blobs');
  const blobs = await openLocalBlobs(blobDirectory);
  await claimBlobDirectory(database, blobDirectory);
  const ring = await openKeyRing({
    database,
    dataDirectory,
    key: options.secretKey,
    keyFile: options.secretKeyFile,
    forgetSecrets: options.forgetSecrets,
    log,
  });
  const siteConfig = resources.use(
    await openSiteConfig({
      dataDirectory,
      file: options.siteConfigFile,
      database,
      sealedTexts: createSealedTexts(ring),
      log,
    }),
  );
  const directoryId = await dataDirectoryId(dataDirectory);
  await createFirstAdmin({ database, dataDirectory, dataDirectoryId: directoryId, log });
  const metrics = createMetrics(log);
  const queue = resources.use(await createQueue({ database, log, observer: metrics.queueObserver }));
  const logs = resources.use(
    await openLogs({
      database,
      blobs,
      queue,
      maxBytesPerJob: () => siteConfig.current().logs.maxBytesPerJob,
      log,
    }),
  );
  const externalURL = () => siteConfig.current().externalURL;
  const accounts = createAccounts({ database, externalURL, log });
  const cancelJobs = (namespaceId: number) => cancelAllJobs(database, queue, namespaceId);
  const users = createUsers({
    database,
    cancelJobs,
    async forgetUser(userId) {
      await forgetSubmitter(database, userId);
      await forgetUserOfSecrets(database, userId);
    },
  });
  const organizations = createOrganizations({ database, cancelJobs });
  const repositories = resources.use(
    createRepositories({
      database,
      directory: dataDirectory,
      environment: options.gitEnvironment ?? {},
      log,
    }),
  );
  const executors = resources.use(await openExecutors(database, log));
  metrics.connect({
    queueCounts: () => queueCounts(database),
    executors: () => executors.list(),
    leftovers: async () => ({
      submitted_files: await countOrphanFiles(database),
      ...(await logs.leftovers()),
    }),
    executorMetrics: () => executors.metrics.expose(),
  });
  const secrets = createSecrets({ database, ring, log });
  const jobs = createJobs({
    database,
    blobs,
    queue,
    logs,
    accounts,
    executors,
    repositories,
    secrets,
    log,
  });

  resources.use(
    startUpkeep(
      [
        {
          name: 'delete old jobs',
          everySeconds: 3600,
          run: (signal) =>
            deleteOldJobs({ database, logs, jobsDays: siteConfig.current().retention.jobsDays }, signal),
        },
        {
          name: 'delete files without a job',
          everySeconds: 3600,
          run: (signal) => deleteOrphanFiles({ database, blobs }, signal),
        },
        {
          name: 'delete old uses of secrets',
          everySeconds: 3600,
          run: (signal) => deleteOldUses(database, siteConfig.current().retention.auditDays, signal),
        },
        {
          name: 'delete expired sessions',
          everySeconds: 3600,
          run: () => deleteExpiredSignIns(database),
        },
      ],
      log,
    ),
  );

  const shutdown = new AbortController();
  const server = await createServer({ log, trustProxy: options.trustProxy });
  server.addHook('onResponse', metrics.onResponse);
  resources.defer(() => closeServer(server, options.shutdownSeconds ?? 20, log));
  // After the server stopped taking requests: followed logs end, and held requests are answered.
  server.addHook('preClose', async () =>
    shutdown.abort(new ApiError(503, 'stopping', 'The instance is stopping', 'Try again in a few seconds.')),
  );
  // Closing ends the connections that are idle then; those that answer a last request would wait for their clients.
  server.addHook('onResponse', async () => {
    if (shutdown.signal.aborted) setImmediate(() => server.server.closeIdleConnections());
  });
  await server.register(async (scope) => {
    healthRoutes(scope, { database, shutdown: shutdown.signal });
    metricsRoute(scope, { metrics, authorizeSiteAdmin: accounts.authorizeSiteAdmin });
    siteConfigRoutes(scope, { siteConfig, accounts });
    sessionRoutes(scope, { database, accounts, users, externalURL });
    openIDRoutes(scope, { database, accounts, openIDConnect: createOpenIDConnect(log), siteConfig });
    tokenRoutes(scope, { database, accounts });
    userRoutes(scope, { users, accounts });
    organizationRoutes(scope, { organizations, accounts });
    repositoryRoutes(scope, { repositories, accounts });
    executorRoutes(scope, { executors, accounts });
    secretRoutes(scope, { secrets, accounts });
    jobRoutes(scope, { jobs, accounts, shutdown: shutdown.signal });
    executorApi(scope, {
      queue,
      logs,
      executors,
      repositories,
      producers: [createProducer({ database, blobs, secrets })],
      siteConfig,
      spoolDirectory: join(dataDirectory, 'spool'),
      log,
      onDequeue: metrics.onDequeue,
    });
  });

  if (options.metricsListen) resources.use(await serveMetrics(metrics, options.metricsListen, log));
  const listen = options.listen ?? defaultListen;
  await server.listen({ ...listen, listenTextResolver: (address) => `listening on ${address}` });
  const url = urlOf({ host: listen.host, port: portOf(server) });

  const stop = resources.move();
  return {
    url,
    dataDirectory,
    async [Symbol.asyncDispose]() {
      await stop.disposeAsync();
      log.info('stopped');
    },
  };
}

/** Stops accepting, waits for requests in progress, and cuts off those that are left at the deadline. */
async function closeServer(server: HttpServer, seconds: number, log: Logger): Promise<void> {
  const deadline = setTimeout(() => {
    log.warn({ seconds }, 'requests were still in progress at the deadline; cutting them off');
    server.server.closeAllConnections();
  }, seconds * 1000);
  try {
    await server.close();
  } finally {
    clearTimeout(deadline);
  }
}

function portOf(server: HttpServer): number {
  const address = server.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port');
  return address.port;
}
