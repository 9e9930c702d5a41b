import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { createInstanceClient } from './client/index.ts';
import type { Settings } from './env/index.ts';
import { hostEnvironmentOf } from './host-environment.ts';
import { openStateDirectory, type StateDirectory, startRounds, sweepDeadExecutors } from './janitor/index.ts';
import type { JobSurroundings } from './job/index.ts';
import { createOutbox } from './outbox/index.ts';
import type { Logger, SecretRegister } from './process-log/index.ts';
import { userConfigHome } from './registry-auth/index.ts';
import type { Runtime } from './runtimes/runtime.ts';
import { collectVersions, createMetrics } from './telemetry/index.ts';
import { startWorker } from './worker/index.ts';
import { prepareWorkspaceRoot, removeWorkspaceDirectory } from './workspace/index.ts';

export interface ExecutorOptions {
  settings: Settings;
  runtime: Runtime;
  /** See {@link newExecutorName}. */
  executorName: string;
  /** The process's environment, of which commands on this machine get a few names. */
  env: Readonly<Record<string, string | undefined>>;
  secrets: SecretRegister;
  log: Logger;
  /** Told once, when the instance has answered for the first time. */
  onConnected(): void;
}

/** A running executor. */
export interface Executor {
  /** Takes no more jobs and ends when those running are over. */
  drain(because: string): void;
  /** Stops running jobs, gives them back where the instance can take them, and ends within {@link shutDownSeconds}. */
  shutDown(): void;
  /** Resolves when it has ended and cleaned up; `connected`: whether the instance ever answered. */
  readonly ended: Promise<{ because: string; connected: boolean }>;
}

export const shutDownSeconds = 20;
/** Outcomes that are being delivered get this long after a shutdown; then they are left to the next executor. */
const outcomeGraceSeconds = 5;

/** Unique for each start of the process. */
export function newExecutorName(): string {
  return `${hostname()}-${randomUUID()}`;
}

/** Wires one executor together and starts it. */
export async function startExecutor(options: ExecutorOptions): Promise<Executor> {
  const { settings, runtime, executorName, secrets, log } = options;
  const { dataDirectory } = settings;
  const limits = {
    numCPUs: settings.jobNumCpus,
    memoryBytes: settings.jobMemoryBytes,
    diskBytes: settings.diskSpaceBytes,
  };
  const state = await openStateDirectory(dataDirectory, executorName);
  const workspaceRoot = await prepareWorkspaceRoot(
    settings.temporaryDirectory,
    settings.dockerHostMountPath !== undefined,
  );
  const metrics = createMetrics({
    queues: settings.queues.names,
    counts: runtime.counts?.bind(runtime),
    nodeExporterUrl: settings.nodeExporterUrl,
    dockerRegistryNodeExporterUrl: settings.dockerRegistryNodeExporterUrl,
    log,
  });
  const client = createInstanceClient({
    baseUrl: settings.frontendUrl,
    sharedSecret: settings.sharedSecret,
    executorName,
    queues: settings.queues,
    resources: limits,
    observe: metrics.call,
  });
  const outboxStop = new AbortController();
  const outbox = createOutbox({
    directory: state.outcomesDirectory,
    clientFor: (job) => client.forJob(job),
    stop: outboxStop.signal,
    log,
  });
  const hostEnvironment = hostEnvironmentOf(options.env);
  const surroundings: JobSurroundings = {
    settings,
    executorName,
    runtime,
    limits,
    workspaceRoot,
    state,
    outbox,
    secrets,
    processLog: log,
    onCommand: metrics.command,
    hostEnvironment,
    homeDirectory: userConfigHome(runtime, settings, options.env),
  };
  const janitor = startRounds({
    tasks: [
      () =>
        sweepDeadExecutors({
          dataDirectory,
          state,
          executorName,
          adoptOutcome: (path) => outbox.adopt(path),
          removeWorkspace: removeWorkspaceDirectory,
          keepWorkspaces: settings.keepWorkspaces,
          log,
        }),
      (signal) => runtime.sweep(signal),
    ],
    intervalSeconds: settings.cleanupIntervalSeconds,
    onFailure: metrics.janitorFailed,
    log,
  });
  // Before the first job, so that what a crash left behind cannot get in its way.
  await janitor.first;
  let connected = false;
  const worker = startWorker({
    settings: {
      queues: settings.queues,
      slots: settings.maximumNumJobs,
      pollIntervalSeconds: settings.queuePollIntervalSeconds,
      numTotalJobs: settings.numTotalJobs,
      maxActiveTimeSeconds: settings.maxActiveTimeSeconds,
      minFreeDiskBytes: settings.minFreeDiskBytes,
    },
    client,
    surroundings,
    versions: await collectVersions(hostEnvironment),
    metrics,
    log,
    onConnected() {
      connected = true;
      options.onConnected();
    },
  });

  async function end(): Promise<{ because: string; connected: boolean }> {
    try {
      const because = await worker.ended;
      return { because, connected };
    } finally {
      await janitor.stop();
      outboxStop.abort();
      await outbox.settled();
      await client[Symbol.asyncDispose]();
      await removeIfEmpty(state);
    }
  }

  let grace: NodeJS.Timeout | undefined;
  const ended = end().finally(() => clearTimeout(grace));
  return {
    drain: worker.drain,
    shutDown() {
      worker.shutDown();
      grace = setTimeout(() => outboxStop.abort(), outcomeGraceSeconds * 1000);
    },
    ended,
  };
}

/** What is left (undelivered outcomes, workspaces that could not be removed) is for the next executor to settle. */
async function removeIfEmpty(state: StateDirectory): Promise<void> {
  if (await state.isEmpty()) await state.remove();
}
