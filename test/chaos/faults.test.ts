import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Flow, startFlow } from './flow.ts';
import { chooseSeed } from './random.ts';
import { type ChaosSite, type Stranger, startChaosSite } from './site.ts';

/**
 * What breaks while jobs flow, and that all of it heals without anybody's help: in the end every submitted job has
 * exactly the outcome that one executor was promised.
 */

/** The longest time from the end of a fault until a new job has been submitted, taken and ended. */
const maxRecoverySeconds = 30;
const patienceSeconds = 90;
/** Longer than the lease (25 s) and than any statement may take (30 s). */
const holdSeconds = 60;
/** A tenth of what the other two tenants do on a busy machine. */
const minJobsPerSecond = 1.5;

let site: ChaosSite;
let seed = chooseSeed();
beforeAll(async () => {
  site = await startChaosSite();
});
afterAll(() => site[Symbol.asyncDispose]());

/** Runs `fault` while jobs come and go. */
async function whileJobsFlow(fault: (flow: Flow) => Promise<void>): Promise<void> {
  await using flow = await startFlow(site, seed++);
  await using _executors = flow.startExecutors(12, {
    workMilliseconds: [0, 400],
    silentProbability: 0.02,
    plainEvery: 6,
  });
  // These hold jobs for longer than any of the faults below takes to be noticed.
  await using _slowExecutors = flow.startExecutors(4, { workMilliseconds: [3000, 9000] });
  {
    await using _load = flow.startLoad();
    await flow.ledger.outcomesReach(15, AbortSignal.timeout(60_000));
    await fault(flow);
  }
  expect(await flow.finish(patienceSeconds)).toEqual([]);
  const fenced = flow.ledger.runs.filter(({ answer }) => answer === 'refused').length;
  say(`${flow.ledger.outcomes} jobs, ${flow.ledger.runs.length} runs, ${fenced} fenced`);
}

/** @param what names it in the output */
async function expectRecovery(flow: Flow, what: string): Promise<void> {
  const seconds = await flow.roundTrip();
  say(`a new job was done ${seconds.toFixed(1)} s after ${what}`);
  expect(seconds).toBeLessThan(maxRecoverySeconds);
}

function say(what: string): void {
  process.stdout.write(`chaos: ${what}\n`);
}

test('Postgres is killed', () =>
  whileJobsFlow(async (flow) => {
    for (const time of ['first', 'second']) {
      await site.killPostgres();
      await expectRecovery(flow, `the ${time} kill of Postgres`);
    }
  }));

test('instances are killed, one and then both', () =>
  whileJobsFlow(async (flow) => {
    const [first, second] = site.instances;
    await first.kill();
    await expectRecovery(flow, 'one of two instances was killed');
    await first.start();
    await Promise.all([first.kill(), second.kill()]);
    const starting = Promise.all([first.start(), second.start()]);
    await expectRecovery(flow, 'both instances were killed and started again');
    await starting;
  }));

test('their connections are cut, 5 times a second', () =>
  whileJobsFlow(async (flow) => {
    const before = flow.ledger.outcomes;
    let cut = 0;
    for (let i = 0; i < 50; i++) {
      const [row] = await site.query<{ cut: number }>(
        `select count(pg_terminate_backend(pid))::int as cut from pg_stat_activity
         where datname = current_database() and application_name like 'kiln%'`,
      );
      cut += row?.cut ?? 0;
      await sleep(200);
    }
    say(`${cut} connections were cut; meanwhile ${flow.ledger.outcomes - before} jobs ended`);
    expect(cut).toBeGreaterThan(50);
    await expectRecovery(flow, 'the last connection was cut');
  }));

test('a stranger takes every connection there is', () =>
  whileJobsFlow(async (flow) => {
    {
      await using strangers = new AsyncDisposableStack();
      say(`${await takeConnections(strangers)} idle connections of a stranger`);
      await expectRecovery(flow, 'a stranger took all connections that the instances did not have');
      // Now the instances have none, and get none back: the stranger is faster.
      for (let i = 0; i < 10; i++) {
        await site.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and application_name like 'kiln%'`,
        );
        await takeConnections(strangers);
      }
    }
    await expectRecovery(flow, 'the stranger left');
  }));

/** Opens idle connections until the server refuses one. */
async function takeConnections(strangers: AsyncDisposableStack): Promise<number> {
  for (let taken = 0; ; taken++) {
    let stranger: Stranger;
    try {
      stranger = await site.connectStranger();
    } catch (error) {
      // too_many_connections, too_many_connections_for_role
      if (Reflect.get(Object(error), 'code') !== '53300') throw error;
      return taken;
    }
    strangers.use(stranger);
  }
}

test('a transaction holds a lane and jobs of one tenant, another one a snapshot', () =>
  whileJobsFlow(async (flow) => {
    await using snapshot = await site.connectStranger();
    await snapshot.client.query(
      `set idle_in_transaction_session_timeout = 0; begin isolation level repeatable read; select count(*) from jobs`,
    );
    {
      await using holder = await site.connectStranger();
      await holder.client.query(
        `set idle_in_transaction_session_timeout = 0; begin;
         select from jobs join namespaces on namespaces.id = tenant
         where name = 'red' and state <> 'completed' for update of jobs;
         select from lanes join namespaces on namespaces.id = tenant where name = 'red' for update of lanes`,
      );
      const before = flow.ledger.outcomes;
      const begun = performance.now();
      while (performance.now() - begun < holdSeconds * 1000) {
        await expectRecovery(flow, 'a transaction began to hold another tenant’s lane');
        await sleep(3000);
      }
      const ended = flow.ledger.outcomes - before;
      const seconds = (performance.now() - begun) / 1000;
      say(`${ended} jobs of other tenants ended in ${seconds.toFixed(0)} s`);
      expect(ended / seconds).toBeGreaterThan(minJobsPerSecond);
    }
    await expectRecovery(flow, 'it ended');
  }));
