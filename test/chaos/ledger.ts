/** One run of a job as the executor that did it saw it; kept beside the instances, which know nothing of it. */
export interface Run {
  jobId: number;
  /** Undefined for an executor without the extension `attempt`. */
  attempt: number | undefined;
  executorName: string;
  token: string;
  /** What the run did to the world: a number that no other run has. It travels in the mark, as a usage. */
  effect: number;
  mark?: 'complete' | 'failed';
  answer?: 'accepted' | 'refused';
}

/** A job as the database keeps it in the end. */
export interface StoredJob {
  id: number;
  state: string;
  attempt: number;
  failureKind: string | null;
  executorName: string | null;
  effects: number[];
}

/** Everything that was promised to submitters and executors, to be held against what is stored in the end. */
export interface Ledger {
  readonly submitted: ReadonlySet<number>;
  readonly runs: readonly Run[];
  /** Jobs of which some executor was told that its mark counts. */
  readonly outcomes: number;
  submittedAs(jobId: number): void;
  began(run: Omit<Run, 'effect' | 'mark' | 'answer'>): Run;
  answered(run: Run, answer: 'accepted' | 'refused'): void;
  /** Something that no fault excuses, such as an answer 500. */
  problem(what: string): void;
  /** Resolves when some executor was told that its mark of this job counts. */
  outcomeOf(jobId: number, signal: AbortSignal): Promise<void>;
  /** Resolves when so many jobs have an outcome. */
  outcomesReach(count: number, signal: AbortSignal): Promise<void>;
  /** What is wrong, in words; empty when every job has exactly the one outcome that its executor was promised. */
  differencesFrom(stored: readonly StoredJob[]): string[];
}

export function createLedger(): Ledger {
  const submitted = new Set<number>();
  const runs: Run[] = [];
  const accepted = new Map<number, Run>();
  const problems: string[] = [];
  const looks = new Set<() => void>();

  async function when(condition: () => boolean, what: () => string, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      if (condition()) resolve();
    };
    const giveUp = () => reject(new Error(`In vain: ${what()}`, { cause: signal.reason }));
    looks.add(look);
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      look();
      if (signal.aborted) giveUp();
      await promise;
    } finally {
      looks.delete(look);
      signal.removeEventListener('abort', giveUp);
    }
  }

  function openJobs(): string {
    const open = [...submitted].filter((id) => !accepted.has(id));
    const shown = open.slice(0, 10).map((id) => {
      const seen = runs.filter(({ jobId }) => jobId === id);
      return `${id} (${seen.map(({ attempt, answer }) => `attempt ${attempt}: ${answer ?? 'no answer'}`).join(', ')})`;
    });
    return `${accepted.size} outcomes; ${open.length} jobs without one: ${shown.join('; ')}`;
  }

  return {
    submitted,
    runs,
    get outcomes() {
      return accepted.size;
    },
    submittedAs(jobId) {
      if (submitted.has(jobId)) problems.push(`job ${jobId} was made for two submissions`);
      submitted.add(jobId);
    },
    began(begun) {
      const same = runs.find(
        ({ jobId, attempt, token }) =>
          token === begun.token ||
          (jobId === begun.jobId && attempt !== undefined && attempt === begun.attempt),
      );
      if (same) {
        problems.push(
          `attempt ${begun.attempt} of job ${begun.jobId} was given to ${same.executorName} and ${begun.executorName}`,
        );
      }
      const run = { ...begun, effect: runs.length + 1 };
      runs.push(run);
      return run;
    },
    answered(run, answer) {
      run.answer = answer;
      if (answer === 'refused') return;
      const other = accepted.get(run.jobId);
      if (other && other !== run) {
        problems.push(`job ${run.jobId} was ended by ${other.executorName} and by ${run.executorName}`);
      }
      accepted.set(run.jobId, run);
      for (const look of [...looks]) look();
    },
    problem: (what) => void problems.push(what),
    outcomeOf: (jobId, signal) =>
      when(
        () => accepted.has(jobId),
        () => `job ${jobId} has no outcome. ${openJobs()}`,
        signal,
      ),
    outcomesReach: (count, signal) =>
      when(
        () => accepted.size >= count,
        () => `${count} outcomes were expected. ${openJobs()}`,
        signal,
      ),
    differencesFrom(stored) {
      const found = [...problems];
      const byId = new Map(stored.map((job) => [job.id, job]));
      for (const id of submitted) if (!byId.has(id)) found.push(`job ${id} is lost`);
      for (const job of stored) {
        const run = accepted.get(job.id);
        if (!submitted.has(job.id)) found.push(`job ${job.id} was never promised to a submitter`);
        if (!run) found.push(`job ${job.id} has no outcome that an executor was told of: ${describe(job)}`);
        else if (!isOutcomeOf(run, job)) {
          found.push(
            `job ${job.id} was ended by ${describe({ ...run })}, but its outcome is ${describe(job)}`,
          );
        }
      }
      for (const { jobId, attempt } of runs) {
        const job = byId.get(jobId);
        if (job && attempt !== undefined && attempt > job.attempt) {
          found.push(`attempt ${attempt} of job ${jobId} was given out, but the job is at ${job.attempt}`);
        }
      }
      return found;
    },
  };
}

function isOutcomeOf(run: Run, job: StoredJob): boolean {
  return (
    job.state === (run.mark === 'complete' ? 'completed' : 'failed') &&
    job.executorName === run.executorName &&
    (run.attempt === undefined || job.attempt === run.attempt) &&
    job.effects.length === 1 &&
    job.effects[0] === run.effect
  );
}

function describe(thing: object): string {
  return JSON.stringify(thing, (key, value) => (key === 'token' ? undefined : value));
}
