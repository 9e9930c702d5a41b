import { setTimeout as sleep } from 'node:timers/promises';
import { formatByteSize, formatDuration, type JobDocument, type QueueName } from '@kiln/protocol';
import { type InstanceClient, isInstanceError, type JobIdentity, type Versions } from '../client/index.ts';
import { type JobEnd, type JobSurroundings, runJob } from '../job/index.ts';
import type { Logger } from '../process-log/index.ts';
import type { Metrics } from '../telemetry/index.ts';
import { freeDiskBytes } from './disk-reserve.ts';
import { startHeartbeats } from './heartbeats.ts';
import { createRunningJobs } from './running-jobs.ts';
import { watchRuntime } from './runtime-health.ts';
import { connect } from './start-up.ts';

export interface WorkerSettings {
  queues: { mode: 'single' | 'multi'; names: readonly [QueueName, ...QueueName[]] };
  slots: number;
  pollIntervalSeconds: number;
  /** 0: no limit. */
  numTotalJobs: number;
  /** 0: no limit. */
  maxActiveTimeSeconds: number;
  minFreeDiskBytes: number;
}

export interface WorkerOptions {
  settings: WorkerSettings;
  client: InstanceClient;
  surroundings: JobSurroundings;
  versions: Versions;
  metrics: Metrics;
  log: Logger;
  /** Told once, when the instance has answered for the first time. */
  onConnected(): void;
}

/** The loop of an executor: takes jobs while it may and has a free slot, and runs them. */
export interface Worker {
  /** Takes no more jobs; those running are finished. */
  drain(because: string): void;
  /** Stops running jobs and gives them back where the instance can take them. */
  shutDown(): void;
  /** Resolves, with why, when the last job is over and its outcome delivered. */
  readonly ended: Promise<string>;
}

const mostFailurePauseSeconds = 10;
const diskPauseSeconds = 5;
const diskTellSeconds = 60;

export function startWorker(options: WorkerOptions): Worker {
  const { settings, client, surroundings, log, metrics } = options;
  const jobs = createRunningJobs(settings.queues.mode);
  /** Aborts when no more jobs are to be taken. */
  const draining = new AbortController();
  /** Aborts when running jobs are to be stopped too. */
  const shuttingDown = new AbortController();
  let because = '';
  let claimed = 0;
  let pausedByInstance = false;
  const runtimeHealth = watchRuntime(surroundings.runtime, log);
  let toldAboutDiskAt = Number.NEGATIVE_INFINITY;

  function drain(why: string): void {
    if (draining.signal.aborted) return;
    because = why;
    draining.abort();
  }

  async function work(): Promise<string> {
    try {
      await connect(client, log, draining.signal);
    } catch (error) {
      if (!draining.signal.aborted) throw error;
      return because;
    }
    options.onConnected();
    const heartbeats = startHeartbeats({
      client,
      jobs,
      slots: settings.slots,
      isolation: surroundings.runtime.isolation,
      versions: options.versions,
      metrics: () => metrics.exposition(),
      onDrain(drain) {
        if (drain !== pausedByInstance)
          log.info({ drain }, 'the instance changed whether this executor takes jobs');
        pausedByInstance = drain;
      },
      async onAnswer() {
        try {
          await surroundings.state.touch();
        } catch (error) {
          log.error(
            { error },
            'EXECUTOR_DATA_DIR cannot be written: a successor could take this executor for dead',
          );
        }
      },
      log,
    });
    log.info(
      { executor: surroundings.executorName, queues: settings.queues.names },
      'connected to the instance',
    );
    const activeTimer = startActiveTimer(settings.maxActiveTimeSeconds, drain);
    await Promise.race([heartbeats.introduced, aborted(draining.signal)]);
    await takeJobs((document) => {
      start(document);
      heartbeats.jobStarted();
    });
    clearTimeout(activeTimer);
    await jobs.fewerThan(1);
    await surroundings.outbox.settled();
    await heartbeats.end(because);
    return because;
  }

  async function takeJobs(start: (document: JobDocument) => void): Promise<void> {
    let failures = 0;
    while (!draining.signal.aborted) {
      await jobs.fewerThan(settings.slots, draining.signal);
      if (draining.signal.aborted) return;
      const pause = await whyNotNow();
      if (pause > 0) {
        await wait(pause);
        continue;
      }
      const startedAt = performance.now();
      try {
        // A held call may be broken off: the instance then undoes its claim. A plain one may not, because the job
        // that its answer brings would be nobody's until its lease runs out.
        const signal = client.offers('long-poll') ? draining.signal : shuttingDown.signal;
        const document = await client.dequeue(signal);
        failures = 0;
        if (document === undefined) {
          const pollSeconds = settings.pollIntervalSeconds - (performance.now() - startedAt) / 1000;
          if (!client.offers('long-poll') || pollSeconds > 0)
            await wait(client.offers('long-poll') ? pollSeconds : settings.pollIntervalSeconds);
          continue;
        }
        claimed++;
        if (settings.numTotalJobs > 0 && claimed >= settings.numTotalJobs)
          drain(`took ${claimed} jobs (EXECUTOR_NUM_TOTAL_JOBS)`);
        start(document);
      } catch (error) {
        if (draining.signal.aborted) return;
        if (!isInstanceError(error)) throw error;
        failures++;
        const level = failures <= 1 && error.kind === 'unreachable' ? 'warn' : 'error';
        if (failures <= 2 || failures % 30 === 0)
          log[level]({ cause: error.message }, 'could not ask for a job');
        await wait(
          Math.min(mostFailurePauseSeconds, settings.pollIntervalSeconds * 2 ** Math.min(failures - 1, 6)),
        );
      }
    }
  }

  /** @returns seconds after which to look again; 0: a job may be taken */
  async function whyNotNow(): Promise<number> {
    if (pausedByInstance) return settings.pollIntervalSeconds;
    const pause = await runtimeHealth.pauseSeconds();
    if (pause > 0) return pause;
    const { directory } = surroundings.workspaceRoot;
    try {
      const free = await freeDiskBytes(directory);
      if (free >= settings.minFreeDiskBytes) return 0;
      const reserve = formatByteSize(settings.minFreeDiskBytes);
      tellAboutDisk(
        { free: formatByteSize(free), reserve, directory },
        'taking no jobs: free disk is below EXECUTOR_MIN_FREE_DISK',
      );
    } catch (error) {
      tellAboutDisk({ error, directory }, 'taking no jobs: the directory of the workspaces cannot be used');
    }
    return diskPauseSeconds;
  }

  function tellAboutDisk(fields: Record<string, unknown>, message: string): void {
    if (performance.now() - toldAboutDiskAt < diskTellSeconds * 1000) return;
    toldAboutDiskAt = performance.now();
    log.error(fields, message);
  }

  function start(document: JobDocument): void {
    const queue = document.queue ?? settings.queues.names[0];
    const { id, attempt } = document;
    const identity: JobIdentity = {
      id,
      queue,
      attempt,
      token: document.token,
      executorName: surroundings.executorName,
    };
    jobs.start({ id, queue, attempt }, async (stop, onReported) => {
      const startedAt = performance.now();
      log.info({ job: id, queue, attempt, repository: document.repositoryName }, 'job started');
      try {
        const end = await metrics.job(() =>
          runJob(document, { ...surroundings, client: client.forJob(identity), queue, stop, onReported }),
        );
        const seconds = Math.round((performance.now() - startedAt) / 10) / 100;
        log.info(
          { job: id, queue, attempt, end: end.kind, duration: formatDuration(seconds), ...why(end) },
          'job ended',
        );
        if (isMachineAtFault(end)) runtimeHealth.suspect();
      } catch (error) {
        // Nothing is reported: the lease runs out and another executor takes the job.
        log.error({ error, job: id, queue }, 'could not run or report a job');
      }
    });
  }

  async function wait(seconds: number): Promise<void> {
    await sleep(seconds * 1000, undefined, { signal: draining.signal }).catch((error: unknown) => {
      if (!draining.signal.aborted) throw error;
    });
  }

  const ended = work();
  return {
    drain,
    shutDown() {
      drain('shut down');
      shuttingDown.abort();
      jobs.stopAll('shutdown');
    },
    ended,
  };
}

function startActiveTimer(seconds: number, drain: (because: string) => void): NodeJS.Timeout | undefined {
  if (seconds === 0) return undefined;
  const milliseconds = Math.min(seconds * 1000, 2 ** 31 - 1);
  return setTimeout(
    () => drain(`worked for ${formatDuration(seconds)} (EXECUTOR_MAX_ACTIVE_TIME)`),
    milliseconds,
  );
}

function isMachineAtFault(end: JobEnd): boolean {
  return 'infrastructure' in end || (end.kind === 'release' && end.reason === 'infrastructure');
}

function why(end: JobEnd): { because?: string } {
  return 'message' in end ? { because: end.message } : {};
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
