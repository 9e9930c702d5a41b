import type { QueueName } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { ClaimedJob, DequeueRequest } from './queue.ts';
import { queueWeights, safetyClaimMilliseconds } from './settings.ts';
import { createStride } from './stride.ts';

export interface ClaimBatch {
  queue: QueueName;
  limits: boolean;
  requests: DequeueRequest[];
}

export interface ClaimOutcome {
  /** Which request got which job. */
  assigned: { request: DequeueRequest; job: ClaimedJob }[];
  /** Nothing was claimed though jobs wait: others hold the locks, and will let go of them at once. */
  contended: boolean;
}

export interface PumpOptions {
  claim: (batch: ClaimBatch) => Promise<ClaimOutcome>;
  unclaim: (job: ClaimedJob) => Promise<void>;
  log: Logger;
}

export interface Pump extends AsyncDisposable {
  dequeue(request: DequeueRequest): Promise<ClaimedJob | null>;
  /** There may be jobs: looks again for everybody who waits. */
  wake(): void;
}

interface Waiter {
  request: DequeueRequest;
  /** Counts up: a claim that began before a waiter came says nothing about what is there for it. */
  arrival: number;
  /** No longer held after this; `performance.now()`. */
  until: number;
  phase: 'waiting' | 'claiming' | 'settled';
  settled: PromiseWithResolvers<ClaimedJob | null>;
  timer: NodeJS.Timeout | undefined;
}

const maxBatch = 100;
/** Pauses between looks at lanes that other instances hold, and how long even an unheld dequeue waits for them. */
const contentionPauses = [5, 10, 20, 40, 80, 160] as const;
const contentionPatienceMilliseconds = 250;

/**
 * Serves all waiting dequeues of this process with few claims: one statement claims for every waiter of the same
 * queue and capability. At most one claim per queue and capability is under way; those who come meanwhile are served
 * by the next.
 */
export function createPump({ claim, unclaim, log }: PumpOptions): Pump {
  const waiters = new Set<Waiter>();
  const undoing = new Set<Promise<void>>();
  const stride = createStride(queueWeights);
  let arrivals = 0;
  let running: Promise<void> | undefined;
  let again = false;
  let closed = false;
  let contentions = 0;
  let contentionTimer: NodeJS.Timeout | undefined;
  const safety = setInterval(() => wake(), safetyClaimMilliseconds);
  safety.unref();

  return {
    dequeue(request) {
      if (closed || request.signal.aborted) return Promise.resolve(null);
      const waiter: Waiter = {
        request,
        arrival: ++arrivals,
        until: performance.now() + request.waitSeconds * 1000,
        phase: 'waiting',
        settled: Promise.withResolvers(),
        timer: undefined,
      };
      const giveUp = () => {
        // While a claim for it is under way its outcome is awaited: it may hold a job already.
        if (waiter.phase === 'waiting') settle(waiter, null);
      };
      if (request.waitSeconds > 0) waiter.timer = setTimeout(giveUp, request.waitSeconds * 1000);
      request.signal.addEventListener('abort', giveUp, { once: true });
      waiters.add(waiter);
      wake();
      return waiter.settled.promise.finally(() => request.signal.removeEventListener('abort', giveUp));
    },
    wake,
    async [Symbol.asyncDispose]() {
      closed = true;
      clearInterval(safety);
      clearTimeout(contentionTimer);
      await running;
      await Promise.all(undoing);
      for (const waiter of waiters) settle(waiter, null);
    },
  };

  function wake(): void {
    again = true;
    if (closed || running || waiters.size === 0) return;
    running = run().finally(() => {
      running = undefined;
      if (again) wake();
    });
  }

  async function run(): Promise<void> {
    // More dequeues may arrive in this turn of the event loop; they share the claim.
    await new Promise((resolve) => setImmediate(resolve));
    while (again && waiters.size > 0 && !closed) {
      again = false;
      await serve();
    }
  }

  /** Claims until every waiter has a job or has been told that there is none in any of its queues. */
  async function serve(): Promise<void> {
    const emptySince = new Map<string, number>();
    let contended = false;
    for (;;) {
      const batches = plan(emptySince);
      if (batches.length === 0) break;
      const outcomes = await Promise.all(batches.map((batch) => serveBatch(batch, emptySince)));
      contended ||= outcomes.includes('contended');
      if (closed) return;
    }
    if (!contended) contentions = 0;
    else retrySoon();
    const now = performance.now();
    for (const waiter of waiters) {
      const patience = contended ? contentionPatienceMilliseconds : 0;
      if (waiter.phase === 'waiting' && hasLooked(waiter, emptySince) && waiter.until + patience <= now) {
        settle(waiter, null);
      }
    }
  }

  function plan(emptySince: Map<string, number>): { queue: QueueName; limits: boolean; waiters: Waiter[] }[] {
    const batches = new Map<string, { queue: QueueName; limits: boolean; waiters: Waiter[] }>();
    for (const waiter of waiters) {
      if (waiter.phase !== 'waiting') continue;
      const { limits } = waiter.request;
      const available = waiter.request.queues.filter((queue) => mayHaveJobs(queue, waiter, emptySince));
      if (available.length === 0) continue;
      const queue = stride.take(available);
      const key = batchKey(queue, limits);
      const batch = batches.get(key) ?? { queue, limits, waiters: [] };
      batches.set(key, batch);
      if (batch.waiters.length < maxBatch) batch.waiters.push(waiter);
      else stride.giveBack(queue);
    }
    return [...batches.values()];
  }

  async function serveBatch(
    batch: { queue: QueueName; limits: boolean; waiters: Waiter[] },
    emptySince: Map<string, number>,
  ): Promise<'served' | 'contended'> {
    const { queue, limits } = batch;
    const startedAt = arrivals;
    const byRequest = new Map(batch.waiters.map((waiter) => [waiter.request, waiter]));
    for (const waiter of batch.waiters) waiter.phase = 'claiming';
    let outcome: ClaimOutcome;
    try {
      outcome = await claim({ queue, limits, requests: [...byRequest.keys()] });
    } catch (error) {
      for (const waiter of batch.waiters) fail(waiter, error);
      return 'served';
    }
    for (const { request, job } of outcome.assigned) {
      const waiter = byRequest.get(request);
      byRequest.delete(request);
      if (waiter && !request.signal.aborted) settle(waiter, job);
      else {
        if (waiter) settle(waiter, null);
        undo(job);
      }
    }
    for (const waiter of byRequest.values()) {
      stride.giveBack(queue);
      waiter.phase = 'waiting';
      if (waiter.request.signal.aborted) settle(waiter, null);
    }
    // A part of what was asked for: one round over the lanes may leave jobs for another.
    if (outcome.assigned.length === 0) emptySince.set(batchKey(queue, limits), startedAt);
    return outcome.contended ? 'contended' : 'served';
  }

  /** The client went away while its job was being claimed. */
  function undo(job: ClaimedJob): void {
    const undone = unclaim(job)
      .catch((error: unknown) => {
        log.warn(
          { jobId: job.id, err: error },
          'a claim could not be undone; its job returns when the lease ends',
        );
      })
      .finally(() => undoing.delete(undone));
    undoing.add(undone);
  }

  function retrySoon(): void {
    const pause = contentionPauses[Math.min(contentions++, contentionPauses.length - 1)];
    clearTimeout(contentionTimer);
    contentionTimer = setTimeout(wake, pause);
  }

  function settle(waiter: Waiter, job: ClaimedJob | null): void {
    waiter.phase = 'settled';
    waiters.delete(waiter);
    clearTimeout(waiter.timer);
    waiter.settled.resolve(job);
  }

  function fail(waiter: Waiter, error: unknown): void {
    waiter.phase = 'settled';
    waiters.delete(waiter);
    clearTimeout(waiter.timer);
    waiter.settled.reject(error);
  }
}

function batchKey(queue: QueueName, limits: boolean): string {
  return `${queue} ${limits}`;
}

function mayHaveJobs(queue: QueueName, waiter: Waiter, emptySince: ReadonlyMap<string, number>): boolean {
  const since = emptySince.get(batchKey(queue, waiter.request.limits));
  return since === undefined || since < waiter.arrival;
}

function hasLooked(waiter: Waiter, emptySince: ReadonlyMap<string, number>): boolean {
  return waiter.request.queues.every((queue) => !mayHaveJobs(queue, waiter, emptySince));
}
