import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { orNothing, runScriptedExecutor, type ScriptedExecutorOptions } from './executor.ts';
import { createLedger, type Ledger, type StoredJob } from './ledger.ts';
import { createRandom, type Random } from './random.ts';
import type { ChaosSite } from './site.ts';
import { connectWire, type Wire } from './wire.ts';

/** Jobs that come and go at a site, with a ledger of its own. Disposing stops whatever it has under way. */
export interface Flow extends AsyncDisposable {
  readonly ledger: Ledger;
  readonly wire: Wire;
  readonly random: Random;
  readonly urls: readonly string[];
  /** Submits until the instance has answered; a second try makes no second job. Resolves to its id. */
  submit(tenant: string): Promise<number>;
  submitMany(count: number): Promise<void>;
  /** Submits all the time until disposed, each tenant for itself: one that is stopped does not stop the others. */
  startLoad(): AsyncDisposable;
  startExecutors(
    count: number,
    options: Pick<ScriptedExecutorOptions, 'workMilliseconds' | 'silentProbability'> & {
      /** Every so manieth knows no extensions. */
      plainEvery?: number;
    },
  ): AsyncDisposable;
  /** Seconds until a new job of a tenant of its own has been submitted, taken and ended. */
  roundTrip(): Promise<number>;
  /** Waits until every job has an outcome, stops everybody, and holds the ledger against the database. */
  finish(seconds: number): Promise<string[]>;
}

const submitters = 3;
const submitPauseMilliseconds = [20, 120] as const;
/** What the issue allows for a recovery, twice: the limit itself is the test's to check. */
const roundTripSeconds = 60;
const persistenceMilliseconds = 90_000;

export async function startFlow(site: ChaosSite, seed: number): Promise<Flow> {
  const ledger = createLedger();
  const random = createRandom(seed);
  const wire = connectWire(site);
  const urls = site.instances.map(({ url }) => url);
  const name = randomUUID().slice(0, 8);
  const [newest] = await site.query<{ id: number }>('select coalesce(max(id), 0)::int as id from jobs');
  const stopping = new AbortController();
  const running = new Set<Promise<unknown>>();
  let submissions = 0;
  let executors = 0;

  function track<Value>(work: Promise<Value>): Promise<Value> {
    running.add(work);
    const forget = () => running.delete(work);
    work.then(forget, forget);
    return work;
  }

  /** Work until it is disposed or the flow is. */
  function start(work: (signal: AbortSignal) => Promise<unknown>): AsyncDisposable {
    const over = new AbortController();
    const done = track(
      work(AbortSignal.any([over.signal, stopping.signal])).catch((error) => ledger.problem(String(error))),
    );
    return {
      async [Symbol.asyncDispose]() {
        over.abort();
        await done;
      },
    };
  }

  async function submit(tenant: string): Promise<number> {
    const key = `${name}-${++submissions}`;
    const body = { namespace: tenant, steps: [{ image: 'any', run: 'true' }] };
    const giveUpAt = performance.now() + persistenceMilliseconds;
    for (;;) {
      const reply = await orNothing(wire.submit(random.of(urls), key, body));
      if (reply?.status === 201 || reply?.status === 200) {
        const { id } = reply.body as { id: number };
        ledger.submittedAs(id);
        return id;
      }
      if (reply && reply.status !== 503)
        ledger.problem(`submit: ${reply.status} ${JSON.stringify(reply.body)}`);
      if (performance.now() > giveUpAt) throw new Error(`no instance takes submission ${key}`);
      await sleep(random.between(100, 500));
    }
  }

  async function stop(): Promise<void> {
    stopping.abort();
    await Promise.allSettled([...running]);
  }

  return {
    ledger,
    wire,
    random,
    urls,
    submit: (tenant) => track(submit(tenant)),
    async submitMany(count) {
      let begun = 0;
      const submitter = async () => {
        while (begun++ < count) await submit(random.of(site.tenants));
      };
      await track(Promise.all(Array.from({ length: submitters }, submitter)));
    },
    startLoad() {
      const submitter = async (tenant: string, signal: AbortSignal) => {
        while (!signal.aborted) {
          await submit(tenant);
          await sleep(random.between(...submitPauseMilliseconds));
        }
      };
      return start((signal) => Promise.all(site.tenants.map((tenant) => submitter(tenant, signal))));
    },
    startExecutors(count, { plainEvery = 0, ...options }) {
      return start((signal) =>
        Promise.all(
          Array.from({ length: count }, (_, index) =>
            runScriptedExecutor({
              ...options,
              name: `${name}-executor-${++executors}`,
              urls,
              wire,
              ledger,
              random,
              extensions: plainEvery === 0 || index % plainEvery !== 0,
              signal,
            }),
          ),
        ),
      );
    },
    async roundTrip() {
      const started = performance.now();
      const id = await track(submit('probe'));
      await ledger.outcomeOf(id, AbortSignal.timeout(roundTripSeconds * 1000));
      return (performance.now() - started) / 1000;
    },
    async finish(seconds) {
      const overdue = await ledger
        .outcomesReach(ledger.submitted.size, AbortSignal.timeout(seconds * 1000))
        .then(
          () => [],
          (error) => [String(error)],
        );
      await stop();
      const stored = await site.query<StoredJob>(
        `select id::int, state, attempt, failure_kind as "failureKind", executor_name as "executorName",
           array(select (record->>'cpuSeconds')::float8 from jsonb_array_elements(usage) record) as effects
         from jobs where id > $1 order by id`,
        [newest?.id ?? 0],
      );
      const lanes = await site.query('select * from lanes where waiting <> 0 or waiting_plain <> 0');
      return [
        ...overdue,
        ...ledger.differencesFrom(stored),
        ...lanes.map((lane) => `a lane is not empty: ${JSON.stringify(lane)}`),
        ...(await site.errors()),
      ];
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await wire[Symbol.asyncDispose]();
    },
  };
}
