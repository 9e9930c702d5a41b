import type { FailureKind, JobState, QueueName } from '@kiln/protocol';
import type { MarkKind, ReleaseReason } from '../queue.ts';

/**
 * The queue's rules as a plain program: one list of jobs, times in whole seconds, no SQL. The model-based test runs
 * it beside the real queue and compares every row after every command.
 */
export interface ModelJob {
  id: number;
  queue: QueueName;
  tenant: number;
  priority: number;
  needsLimits: boolean;
  timeoutSeconds: number;
  state: JobState;
  inLane: boolean;
  returned: boolean;
  attempt: number;
  resets: number;
  unconfirmed: number;
  executor: string | null;
  lease: number | null;
  confirmBy: number | null;
  deadline: number | null;
  cancel: 'user' | 'timeout' | null;
  cancelAt: number | null;
  availableAt: number | null;
  startedAt: number | null;
  finishedAt: number | null;
  finalMark: MarkKind | null;
  failureKind: FailureKind | null;
}

/** A call of an executor about a claim it once had. */
export interface ModelCaller {
  jobId: number;
  executor: string;
  attempt: number | undefined;
}

export class QueueModel {
  now = 0;
  jobs: ModelJob[] = [];
  private beatAt = 0;
  /** Lanes by the order of their last service, the longest ago first; a lane that is missing was never served. */
  private served: string[] = [];

  enqueue(
    job: Pick<ModelJob, 'id' | 'queue' | 'tenant' | 'priority' | 'needsLimits' | 'timeoutSeconds'>,
  ): void {
    this.jobs.push({
      ...job,
      state: 'queued',
      inLane: true,
      returned: false,
      attempt: 0,
      resets: 0,
      unconfirmed: 0,
      executor: null,
      lease: null,
      confirmBy: null,
      deadline: null,
      cancel: null,
      cancelAt: null,
      availableAt: null,
      startedAt: null,
      finishedAt: null,
      finalMark: null,
      failureKind: null,
    });
  }

  /** The jobs that one claim may take: the heads of the lanes that come first. Lanes never served are equal. */
  candidates(queue: QueueName, limits: boolean): ModelJob[] {
    const heads = new Map<number, ModelJob>();
    for (const job of this.waiting(queue, limits)) {
      const head = heads.get(job.tenant);
      if (!head || before(job, head)) heads.set(job.tenant, job);
    }
    const turnOf = (job: ModelJob) => this.served.indexOf(lane(job));
    const first = Math.min(...[...heads.values()].map(turnOf));
    return [...heads.values()].filter((job) => turnOf(job) === first);
  }

  waiting(queue: QueueName, limits: boolean): ModelJob[] {
    return this.jobs.filter((job) => job.inLane && job.queue === queue && (limits || !job.needsLimits));
  }

  claim(job: ModelJob, executor: string, confirm: boolean): void {
    if (job.state === 'processing') {
      const counts = job.confirmBy === null || job.unconfirmed + 1 >= 3;
      job.unconfirmed = counts ? 0 : job.unconfirmed + 1;
      if (counts) job.resets++;
    }
    Object.assign(job, {
      state: 'processing',
      inLane: false,
      returned: false,
      attempt: job.attempt + 1,
      executor,
    });
    job.lease = this.now + 25;
    job.confirmBy = confirm ? this.now + 10 : null;
    job.deadline = this.now + job.timeoutSeconds + 30;
    job.startedAt = this.now;
    job.availableAt = null;
    this.served = [...this.served.filter((other) => other !== lane(job)), lane(job)];
  }

  /** Heartbeats and log writes. */
  touch(caller: ModelCaller): 'stale' | 'unknown' | { attempt: number; cancel: boolean } {
    const job = this.find(caller.jobId);
    const refused = job ? this.refusal(job, caller) : 'unknown';
    if (!job || refused) return refused ?? 'unknown';
    if (job.inLane || job.confirmBy !== null || job.unconfirmed > 0 || (job.lease ?? 0) < this.now + 23) {
      job.lease = this.now + 25;
    }
    Object.assign(job, { inLane: false, returned: false, confirmBy: null, unconfirmed: 0 });
    return { attempt: job.attempt, cancel: job.cancel !== null };
  }

  mark(
    caller: ModelCaller,
    kind: MarkKind,
  ): 'stale' | 'unknown' | 'different' | { state: JobState; repeated: boolean } {
    const job = this.find(caller.jobId);
    if (!job) return 'unknown';
    const refused = this.refusal(job, caller);
    if (refused === 'stale') return refused;
    if (refused) {
      const owner = job.executor === caller.executor && (caller.attempt ?? job.attempt) === job.attempt;
      const repeatable = owner && job.finalMark && (job.finishedAt ?? 0) >= this.now - 24 * 3600;
      if (!repeatable) return 'unknown';
      return job.finalMark === kind ? { state: job.state, repeated: true } : 'different';
    }
    if (kind === 'complete') this.end(job, 'completed', null);
    else if (job.cancel === 'user') this.end(job, 'canceled', null);
    else this.end(job, 'failed', job.cancel === 'timeout' ? 'timeout' : kind);
    job.finalMark = kind;
    return { state: job.state, repeated: false };
  }

  release(caller: ModelCaller, reason: ReleaseReason): 'stale' | 'unknown' | 'released' {
    const job = this.find(caller.jobId);
    const refused = job ? this.refusal(job, caller) : 'unknown';
    if (!job || refused) return refused ?? 'unknown';
    this.giveBack(job, { countsReset: reason === 'infrastructure' });
    return 'released';
  }

  /** The instance itself takes a claim back, or finds that its document cannot be built. */
  undo(jobId: number, attempt: number, how: { delay?: number; fails?: boolean }): void {
    const job = this.find(jobId);
    if (job?.state === 'processing' && job.attempt === attempt) this.giveBack(job, how);
  }

  cancel(jobId: number): 'canceled' | 'requested' | 'ended' | 'unknown' {
    const job = this.find(jobId);
    if (!job) return 'unknown';
    if (job.finishedAt !== null) return 'ended';
    if (job.state === 'queued' || job.inLane) {
      job.cancelAt = this.now;
      this.end(job, 'canceled', null);
      job.cancel = 'user';
      return 'canceled';
    }
    if (!job.cancel) Object.assign(job, { cancel: 'user', cancelAt: this.now });
    return 'requested';
  }

  retry(jobId: number): 'queued' | 'not-ended' | 'unknown' {
    const job = this.find(jobId);
    if (!job) return 'unknown';
    if (job.finishedAt === null) return 'not-ended';
    const { id, queue, tenant, priority, needsLimits, timeoutSeconds, attempt } = job;
    this.jobs = this.jobs.filter((other) => other !== job);
    this.enqueue({ id, queue, tenant, priority, needsLimits, timeoutSeconds });
    Object.assign(this.find(id) ?? {}, { attempt });
    return 'queued';
  }

  deleteEnded(): number[] {
    const old = this.jobs.filter((job) => job.finishedAt !== null && job.finishedAt < this.now);
    this.jobs = this.jobs.filter((job) => !old.includes(job));
    return old.map((job) => job.id).sort((a, b) => a - b);
  }

  sweep(): void {
    const gap = this.now - this.beatAt;
    this.beatAt = this.now;
    if (gap > 5) this.extend(gap);
    else if (gap < -1) this.stepBack(-gap);
    for (const job of this.held()) {
      if ((job.lease ?? 0) <= this.now + 65) continue;
      job.lease = this.now + 25;
      if (job.confirmBy !== null) job.confirmBy = Math.min(job.confirmBy, this.now + 10);
      job.deadline = Math.min(job.deadline ?? 0, this.now + (job.deadline ?? 0) - (job.startedAt ?? 0));
    }
    for (const job of this.held()) {
      if (!job.cancel && (job.deadline ?? 0) <= this.now)
        Object.assign(job, { cancel: 'timeout', cancelAt: this.now });
    }
    for (const job of this.jobs) {
      if (job.state !== 'queued' || job.inLane || (job.availableAt ?? 0) > this.now) continue;
      Object.assign(job, { inLane: true, availableAt: null });
    }
    for (const job of this.held()) this.expire(job);
  }

  find(jobId: number): ModelJob | undefined {
    return this.jobs.find((job) => job.id === jobId);
  }

  private held(): ModelJob[] {
    return this.jobs.filter((job) => job.state === 'processing' && !job.inLane);
  }

  private extend(gap: number): void {
    for (const job of this.held()) {
      if ((job.lease ?? 0) <= this.now - gap) continue;
      job.lease = Math.min((job.lease ?? 0) + gap + 30, this.now + 55);
      if (job.confirmBy !== null) job.confirmBy = Math.min(job.confirmBy + gap + 30, this.now + 40);
      if (job.deadline !== null) job.deadline += gap;
    }
  }

  private stepBack(step: number): void {
    for (const job of this.jobs) {
      if (job.state !== 'processing' && (job.state !== 'queued' || job.inLane)) continue;
      for (const time of ['lease', 'confirmBy', 'deadline', 'cancelAt', 'availableAt'] as const) {
        const value = job[time];
        if (value !== null) job[time] = value - step;
      }
    }
  }

  private expire(job: ModelJob): void {
    const due = (time: number | null) => time !== null && time <= this.now;
    const overdue = job.cancelAt !== null && job.cancelAt <= this.now - 300;
    if (!due(job.lease) && !due(job.confirmBy) && !overdue) return;
    const counts = job.confirmBy === null || job.unconfirmed + 1 >= 3;
    if (job.cancel === 'user') this.end(job, 'canceled', null, true);
    else if (job.cancel === 'timeout') this.end(job, 'failed', 'timeout', true);
    else if (counts && job.resets >= 3) this.end(job, 'failed', 'lost', true);
    else Object.assign(job, { inLane: true, returned: true });
  }

  private giveBack(job: ModelJob, how: { countsReset?: boolean; delay?: number; fails?: boolean }): void {
    if (job.cancel === 'user') this.end(job, 'canceled', null);
    else if (job.cancel === 'timeout') this.end(job, 'failed', 'timeout');
    else if (how.fails) this.end(job, 'failed', 'document');
    else if (how.countsReset && job.resets >= 3) this.end(job, 'failed', 'lost');
    else {
      if (how.countsReset) job.resets++;
      Object.assign(job, {
        state: 'queued',
        returned: true,
        inLane: !how.delay,
        executor: null,
        startedAt: null,
      });
      Object.assign(job, { lease: null, confirmBy: null, deadline: null });
      job.availableAt = how.delay ? this.now + how.delay : null;
      return;
    }
    job.deadline = null;
  }

  private end(job: ModelJob, state: JobState, failureKind: FailureKind | null, keepsLease = false): void {
    Object.assign(job, {
      state,
      failureKind,
      inLane: false,
      returned: false,
      finishedAt: this.now,
      availableAt: null,
    });
    if (!keepsLease) Object.assign(job, { lease: null, confirmBy: null });
  }

  private refusal(job: ModelJob, caller: ModelCaller): 'stale' | 'unknown' | undefined {
    if (caller.attempt !== undefined && caller.attempt < job.attempt) return 'stale';
    if (job.executor !== caller.executor || (caller.attempt ?? job.attempt) > job.attempt) return 'unknown';
    return job.state === 'processing' ? undefined : 'unknown';
  }
}

function lane(job: ModelJob): string {
  return `${job.queue} ${job.tenant}`;
}

/** Whether `a` is claimed before `b` of the same lane. */
function before(a: ModelJob, b: ModelJob): boolean {
  if (a.returned !== b.returned) return a.returned;
  return a.priority !== b.priority ? a.priority > b.priority : a.id < b.id;
}
