import { type HeartbeatVerdict, type HeldJob, heldJobId } from '../client/index.ts';
import { JobStop, type JobStopKind } from '../job/index.ts';

interface RunningJob extends HeldJob {
  /** {@link heldJobId} */
  key: string;
  controller: AbortController;
  /** The instance knows how it ended; what is left of it is being removed. */
  reported: boolean;
  done: Promise<void>;
}

/** The jobs of this executor between their claim and the moment in which nothing is left of them on the machine. */
export interface RunningJobs {
  readonly count: number;
  /** The jobs that a heartbeat names: those whose outcome has not been delivered. */
  held(): readonly HeldJob[];
  /**
   * Runs a job. When one with the same id still runs, that older run is lost: it is stopped first, and waited for.
   * @param run never fails; it calls `onReported` when the outcome has been delivered
   */
  start(job: HeldJob, run: (stop: AbortSignal, onReported: () => void) => Promise<void>): void;
  /** Obeys an answer to a heartbeat that named `asked`; jobs claimed since then are left alone. */
  obey(asked: readonly HeldJob[], verdict: HeartbeatVerdict): JobVerdict[];
  stopAll(kind: JobStopKind): void;
  /** Resolves when fewer than `most` run, or when `stop` aborts. */
  fewerThan(most: number, stop?: AbortSignal): Promise<void>;
}

export interface JobVerdict {
  job: HeldJob;
  kind: 'cancel' | 'lost';
}

export function createRunningJobs(mode: 'single' | 'multi'): RunningJobs {
  const running = new Set<RunningJob>();
  let changed = Promise.withResolvers<void>();

  return {
    get count() {
      return running.size;
    },
    held: () =>
      [...running]
        .filter(({ reported }) => !reported)
        .map(({ id, queue, attempt }) => ({ id, queue, attempt })),
    start(job, run) {
      const key = heldJobId(job, mode);
      const older = [...running].filter((other) => other.key === key);
      for (const other of older) other.controller.abort(new JobStop('lost'));
      const controller = new AbortController();
      const onReported = () => {
        entry.reported = true;
      };
      const started = Promise.all(older.map((other) => other.done)).then(() =>
        run(controller.signal, onReported),
      );
      const entry: RunningJob = { ...job, key, controller, reported: false, done: started };
      entry.done = started.finally(() => {
        running.delete(entry);
        changed.resolve();
        changed = Promise.withResolvers<void>();
      });
      running.add(entry);
    },
    obey(asked, verdict) {
      const verdicts: JobVerdict[] = [];
      for (const job of asked) {
        const key = heldJobId(job, mode);
        // An older run of the same id that is still being torn down has had its verdict.
        const entry = [...running].find(
          (other) =>
            other.key === key &&
            other.attempt === job.attempt &&
            !other.reported &&
            !other.controller.signal.aborted,
        );
        if (entry === undefined) continue;
        const kind = !verdict.known.has(key) ? 'lost' : verdict.cancel.has(key) ? 'cancel' : undefined;
        if (kind === undefined) continue;
        verdicts.push({ job, kind });
        entry.controller.abort(new JobStop(kind));
      }
      return verdicts;
    },
    stopAll(kind) {
      for (const entry of running) entry.controller.abort(new JobStop(kind));
    },
    async fewerThan(most, stop) {
      const aborted = new Promise<void>((resolve) =>
        stop?.addEventListener('abort', () => resolve(), { once: true }),
      );
      while (running.size >= most && stop?.aborted !== true) await Promise.race([changed.promise, aborted]);
    },
  };
}
