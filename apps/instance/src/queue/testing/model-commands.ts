import type { QueueName } from '@kiln/protocol';
import fc from 'fast-check';
import { expect } from 'vitest';
import type { ClaimedJob, MarkKind, Queue, ReleaseReason } from '../queue.ts';
import { deleteEndedJobs, findEndedJobs } from '../retention.ts';
import { enqueue, forever, type QueueKit, sweepEverySeconds } from './queue-kit.ts';
import type { ModelCaller, QueueModel } from './queue-model.ts';

/** A claim as an executor knows it. Kept for ever: an executor may come back after any time. */
export interface Run {
  job: ClaimedJob;
  executor: string;
}

/** The real side: two instances on one database, and everything that executors were ever given. */
export interface System {
  kit: QueueKit;
  instances: Queue[];
  /** Opens an instance in place of one that crashed. */
  replaceInstance(index: number): Promise<void>;
  runs: Run[];
  /** Claims since each waiting lane was served last. */
  fairness: Map<string, Map<string, number>>;
}

export type QueueCommand = fc.AsyncCommand<QueueModel, System>;

const queues = ['batches', 'jobs'] as const satisfies QueueName[];
const executorName = fc.constantFrom('a', 'b', 'c');
const instanceIndex = fc.nat(1);
const queueName = fc.constantFrom(...queues);
/** Chooses among what there is when the command runs. */
const choice = fc.nat(1000);

const enqueueArbitrary: fc.Arbitrary<QueueCommand> = fc
  .record({
    instance: instanceIndex,
    queue: queueName,
    tenant: fc.integer({ min: 1, max: 3 }),
    priority: fc.integer({ min: -1, max: 1 }),
    needsLimits: fc.boolean(),
    timeoutSeconds: fc.constantFrom(20, 100_000),
  })
  .map(({ instance, ...job }) =>
    command(`enqueue(${JSON.stringify(job)})`, async (model, system) => {
      const id = await enqueue(system.kit.database, at(system, instance), job);
      model.enqueue({ id, ...job });
    }),
  );

/** Every command, each with its own arbitrary; those that make work more than once. */
export const commandArbitraries: fc.Arbitrary<QueueCommand>[] = [
  enqueueArbitrary,
  enqueueArbitrary,
  enqueueArbitrary,
  claimArbitrary({ lost: false }),
  claimArbitrary({ lost: false }),
  // The reply never reaches the executor: it crashed, or its instance did.
  claimArbitrary({ lost: true }),
  fc
    .record({ instance: instanceIndex, executor: executorName, withAttempts: fc.boolean() })
    .map(({ instance, executor, withAttempts }) =>
      command(`heartbeat(${executor}${withAttempts ? ', attempts' : ''})`, async (model, system) => {
        const latest = new Map(
          system.runs.filter((run) => run.executor === executor).map((run) => [run.job.id, run.job.attempt]),
        );
        const jobs = [...latest].map(([id, attempt]) => ({ id, ...(withAttempts && { attempt }) }));
        const answer = await at(system, instance).heartbeat({
          executorName: executor,
          jobs,
          waitSeconds: 0,
          signal: forever,
        });
        const expected = jobs.map(({ id, attempt }) => ({
          id,
          result: model.touch({ jobId: id, executor, attempt }),
        }));
        const known = expected.filter(({ result }) => typeof result === 'object');
        expect(answer).toEqual({
          known: known.map(({ id }) => id),
          cancel: known
            .filter(({ result }) => typeof result === 'object' && result.cancel)
            .map(({ id }) => id),
        });
      }),
    ),
  onRun('touch', fc.constant(undefined), async (model, queue, caller, _nothing, run) => {
    const expected = model.touch(caller);
    expect(await queue.touch(asCaller(caller))).toEqual(
      typeof expected === 'object' ? { attempt: expected.attempt } : { refused: expected },
    );
    const job = model.find(caller.jobId);
    const authorised =
      job?.attempt === run.job.attempt && job.executor === run.executor && job.state !== 'queued';
    const claims = await queue.tokenClaims(run.job.token);
    // The token of a job that ended without a mark may be gone or say that it ended; it must not say that it runs.
    if (authorised && job.state === 'processing')
      expect(claims).toMatchObject({ attempt: job.attempt, ended: false });
    else expect(claims?.ended ?? true).toBe(true);
  }),
  ...(['complete', 'errored', 'failed'] as const).map((kind) =>
    onRun(`mark ${kind}`, fc.constant(kind), async (model, queue, caller, mark: MarkKind) => {
      const expected = model.mark(caller, mark);
      expect(await queue.mark(asCaller(caller), mark, 'message', [])).toEqual(
        typeof expected === 'object' ? expected : { refused: expected },
      );
    }),
  ),
  onRun(
    'release',
    fc.constantFrom<ReleaseReason>('drain', 'infrastructure'),
    async (model, queue, caller, reason, run) => {
      const repeats = run.job.attempt === model.find(caller.jobId)?.attempt;
      const expected = model.release(caller, reason);
      const answer = await queue.release(asCaller(caller), reason, '');
      if (expected === 'released') expect(answer).toEqual({ released: true });
      // A release that was answered before is answered again.
      else if ('refused' in answer) expect(answer).toEqual({ refused: expected });
      else expect(repeats || caller.attempt !== undefined || expected === 'unknown').toBe(true);
    },
  ),
  onRun(
    'undo',
    fc.constantFrom({}, { delay: 15 }, { fails: true }),
    async (model, queue, _caller, how: { delay?: number; fails?: boolean }, run) => {
      model.undo(run.job.id, run.job.attempt, how);
      if (how.fails) await queue.documentFailed(run.job, 'no document');
      else if (how.delay) await queue.documentFailed(run.job, 'no document yet', how.delay);
      else await queue.unclaim(run.job);
    },
  ),
  onJob('cancel', async (model, queue, id) => {
    const expected = model.cancel(id);
    expect(await queue.cancel(id)).toBe(expected);
  }),
  onJob('retry', async (model, queue, id) => {
    const expected = model.retry(id);
    expect(await queue.retry(id)).toBe(expected);
  }),
  fc.constantFrom(1, 4, 10, 11, 26).map((seconds) =>
    command(`pass(${seconds} s)`, async (model, { kit }) => {
      await kit.pass(seconds);
      for (let left = seconds; left > 0; left -= sweepEverySeconds) {
        model.now += Math.min(left, sweepEverySeconds);
        model.sweep();
      }
    }),
  ),
  // No instance runs for a while, or somebody sets the clock.
  fc.constantFrom(-7200, -60, 7, 60, 600, 100_000).map((seconds) =>
    command(`jump(${seconds} s)`, async (model, { kit }) => {
      await kit.jump(seconds);
      model.now += seconds;
    }),
  ),
  fc.constant(
    command('sweep', async (model, { kit }) => {
      await kit.sweep();
      model.sweep();
    }),
  ),
  instanceIndex.map((instance) =>
    command(`crash instance ${instance}`, (_model, system) => system.replaceInstance(instance)),
  ),
  fc.constant(
    command('retention', async (model, { kit }) => {
      const found = await findEndedJobs(kit.database, 0, 100);
      const deleted = await deleteEndedJobs(kit.database, found, 0);
      expect([...deleted].sort((a, b) => a - b)).toEqual(model.deleteEnded());
    }),
  ),
];

/** Some executors ask at once, in one or two instances. */
function claimArbitrary({ lost }: { lost: boolean }): fc.Arbitrary<QueueCommand> {
  return fc
    .record({
      instance: instanceIndex,
      executors: fc.array(executorName, { minLength: 1, maxLength: 4 }),
      queue: queueName,
      limits: fc.boolean(),
      confirm: fc.boolean(),
    })
    .map(({ instance, executors, queue, limits, confirm }) =>
      command(
        `claim(${executors}, ${queue}${limits ? ', limits' : ''}${confirm ? ', confirm' : ''}${lost ? ', reply lost' : ''})`,
        async (model, system) => {
          const claimed = await Promise.all(
            executors.map((executor) =>
              at(system, instance).dequeue({
                executorName: executor,
                queues: [queue],
                limits,
                confirm,
                waitSeconds: 0,
                signal: forever,
              }),
            ),
          );
          const claims = claimed.flatMap((job, index) =>
            job ? [{ job, executor: executors[index] ?? '' }] : [],
          );
          const expected = Math.min(executors.length, model.waiting(queue, limits).length);
          expect(claims.length).toBe(expected);
          while (claims.length > 0) {
            // Each claim takes the job whose turn it is; among lanes that were never served any may be first.
            const candidates = model.candidates(queue, limits);
            const index = claims.findIndex(({ job }) => candidates.some(({ id }) => id === job.id));
            expect(
              index,
              `one of ${candidates.map(({ id }) => id)} among ${claims.map(({ job }) => job.id)}`,
            ).not.toBe(-1);
            const [claim] = claims.splice(index, 1);
            const job = claim && model.find(claim.job.id);
            if (!claim || !job) throw new Error('A job that the model does not have was claimed.');
            countFairness(model, system, job.tenant, queue, limits);
            model.claim(job, claim.executor, confirm);
            expect(claim.job.attempt).toBe(job.attempt);
            expect(system.runs.some((run) => run.job.id === job.id && run.job.attempt === job.attempt)).toBe(
              false,
            );
            if (!lost) system.runs.push({ job: claim.job, executor: claim.executor });
          }
        },
      ),
    );
}

/** While a lane waits, every other lane of its queue is served at most once before it is. */
function countFairness(
  model: QueueModel,
  system: System,
  tenant: number,
  queue: QueueName,
  limits: boolean,
): void {
  // Its turn has come, whatever the executor that took it can do.
  for (const either of [true, false]) system.fairness.delete(`${queue} ${tenant} ${either}`);
  const waiting = new Set(model.waiting(queue, limits).map((job) => job.tenant));
  for (const other of [1, 2, 3]) {
    if (other === tenant) continue;
    const key = `${queue} ${other} ${limits}`;
    if (!waiting.has(other)) {
      system.fairness.delete(key);
      continue;
    }
    const counts = system.fairness.get(key) ?? new Map<string, number>();
    system.fairness.set(key, counts);
    const count = (counts.get(`${tenant}`) ?? 0) + 1;
    counts.set(`${tenant}`, count);
    expect(count, `claims of tenant ${tenant} while tenant ${other} waits`).toBeLessThanOrEqual(1);
  }
}

/** A call about any run there ever was, with or without its attempt number. */
function onRun<Argument>(
  name: string,
  argument: fc.Arbitrary<Argument>,
  call: (model: QueueModel, queue: Queue, caller: ModelCaller, argument: Argument, run: Run) => Promise<void>,
): fc.Arbitrary<QueueCommand> {
  return fc
    .record({ instance: instanceIndex, which: choice, withAttempt: fc.boolean(), argument })
    .map(({ instance, which, withAttempt, argument: value }) =>
      command(
        `${name}(run ${which}${withAttempt ? ', attempt' : ''}, ${JSON.stringify(value)})`,
        async (model, system) => {
          // Young runs more often: they are the ones that something can be done with.
          const run = system.runs.at(-1 - (which % Math.min(system.runs.length, 8)));
          if (!run) return;
          const caller = {
            jobId: run.job.id,
            executor: run.executor,
            attempt: withAttempt ? run.job.attempt : undefined,
          };
          await call(model, at(system, instance), caller, value, run);
        },
      ),
    );
}

function onJob(
  name: string,
  call: (model: QueueModel, queue: Queue, id: number) => Promise<void>,
): fc.Arbitrary<QueueCommand> {
  return fc.record({ instance: instanceIndex, which: choice }).map(({ instance, which }) =>
    command(`${name}(job ${which})`, async (model, system) => {
      const job = model.jobs[which % Math.max(model.jobs.length, 1)];
      if (job) await call(model, at(system, instance), job.id);
    }),
  );
}

function command(text: string, run: (model: QueueModel, system: System) => Promise<void>): QueueCommand {
  return {
    check: () => true,
    toString: () => text,
    async run(model, system) {
      await run(model, system);
      await compare(model, system);
    },
  };
}

interface Row extends Record<string, unknown> {
  id: number;
}

/** The queue's rows are exactly the model's, and its counters count them. */
async function compare(model: QueueModel, { kit }: System): Promise<void> {
  const rows = await kit.database.query<Row>({ name: 'model_rows', text: rowsText });
  const byId = new Map(rows.map((row) => [row.id, row]));
  expect([...byId.keys()].sort((a, b) => a - b)).toEqual(
    model.jobs.map(({ id }) => id).sort((a, b) => a - b),
  );
  for (const job of model.jobs) expect(byId.get(job.id)).toEqual({ ...job, counted: true });
  expect(rows.filter(({ counted }) => !counted)).toEqual([]);
}

const seconds = (column: string) =>
  `round(extract(epoch from ${column} - (select epoch from test_clock)))::int`;
const rowsText = `select id, queue, tenant, priority, needs_limits as "needsLimits", timeout_seconds as "timeoutSeconds", state,
  in_lane as "inLane", returned, attempt, resets, unconfirmed, executor_name as executor,
  ${seconds('lease_expires_at')} as lease, ${seconds('confirm_by')} as "confirmBy",
  ${seconds('deadline_at')} as deadline, cancel_reason as cancel,
  ${seconds('cancel_requested_at')} as "cancelAt", ${seconds('available_at')} as "availableAt",
  ${seconds('started_at')} as "startedAt", ${seconds('finished_at')} as "finishedAt",
  final_mark as "finalMark", failure_kind as "failureKind",
  (
    select (lane.waiting, lane.waiting_plain) = (count(other.id), count(other.id) filter (where not other.needs_limits))
    from lanes lane left join jobs other on other.queue = lane.queue and other.tenant = lane.tenant and other.in_lane
    where lane.queue = jobs.queue and lane.tenant = jobs.tenant group by lane.waiting, lane.waiting_plain
  ) as counted from jobs`;

function at(system: System, instance: number): Queue {
  const queue = system.instances[instance];
  if (!queue) throw new RangeError(`There is no instance ${instance}.`);
  return queue;
}

function asCaller({ jobId, executor, attempt }: ModelCaller) {
  return { jobId, executorName: executor, attempt };
}
