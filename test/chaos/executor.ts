import { setTimeout as sleep } from 'node:timers/promises';
import type { Ledger, Run } from './ledger.ts';
import type { Random } from './random.ts';
import type { HeldJob, Reply, Wire } from './wire.ts';

export interface ScriptedExecutorOptions {
  name: string;
  /** Any of them, anew for each call. */
  urls: readonly string[];
  wire: Wire;
  ledger: Ledger;
  random: Random;
  /** False: only what the reference's protocol has, as a genuine executor. */
  extensions: boolean;
  workMilliseconds: readonly [min: number, max: number];
  /** How often it falls silent with a job until others may have it, and marks it only then. */
  silentProbability?: number;
  /** When it aborts it takes no more jobs, and finishes what it has. */
  signal: AbortSignal;
}

/** Longer than an instance waits for the confirmation of a claim (10 s). */
const silentMilliseconds = [11_000, 13_000] as const;
const heartbeatMilliseconds = 4000;
const holdSeconds = 10;
const pollMilliseconds = 300;
/** An executor asks again for so long; no fault of these tests lasts nearly as long. */
const persistenceMilliseconds = 90_000;

/** Takes jobs and ends them as an executor does, without running anything; writes all it was told into the ledger. */
export async function runScriptedExecutor(options: ScriptedExecutorOptions): Promise<void> {
  const { name, urls, wire, ledger, random, signal } = options;
  while (!signal.aborted) {
    const reply = await dequeueOnce();
    if (reply?.status === 200) await runJob(options, readJob(reply.body, name));
    else if (reply?.status === 204 && !options.extensions) await pause(pollMilliseconds, signal);
    else if (reply?.status !== 204) await pause(random.between(100, 500), signal);
  }

  async function dequeueOnce(): Promise<Reply | undefined> {
    const body = { ...greeting(options), ...(options.extensions && { waitSeconds: holdSeconds }) };
    const reply = await orNothing(wire.executor(random.of(urls), 'dequeue', body, signal));
    if (reply) checkStatus(ledger, 'dequeue', reply, [200, 204]);
    return reply;
  }
}

export function greeting({ name, extensions }: { name: string; extensions: boolean }): object {
  return {
    executorName: name,
    version: '6.10.0',
    ...(extensions && {
      kilnVersion: '0.1.0',
      extensions: ['long-poll', 'attempt', 'confirm', 'limits', 'usage'],
    }),
  };
}

export function readJob(body: unknown, executorName: string): HeldJob {
  const { id, token, attempt } = body as { id: number; token: string; attempt?: number };
  return { id, token, attempt, executorName };
}

async function runJob(options: ScriptedExecutorOptions, job: HeldJob): Promise<void> {
  const { ledger, random, signal, silentProbability = 0 } = options;
  const { id: jobId, ...held } = job;
  const run = ledger.began({ jobId, ...held });
  if (random.chance(silentProbability)) await pause(random.between(...silentMilliseconds), signal);
  else if (!(await work(options, job, run)) && random.chance(0.5)) return;
  // The other half does not obey: the job is somebody else's now, and its mark must change nothing.
  await mark(options, job, run);
}

/** False when the instance says that the job is not this executor's any more. */
async function work(options: ScriptedExecutorOptions, job: HeldJob, run: Run): Promise<boolean> {
  const { wire, random, urls, workMilliseconds, signal } = options;
  const endsAt = performance.now() + random.between(...workMilliseconds);
  const entry = {
    key: 'step.docker.0',
    command: ['true'],
    startTime: new Date().toISOString(),
    out: `stdout: effect ${run.effect}\n`,
  };
  if ((await beat(options, job)) === false) return false;
  await orNothing(wire.job(random.of(urls), job, 'addExecutionLogEntry', entry));
  for (;;) {
    const left = endsAt - performance.now();
    await pause(Math.max(0, Math.min(left, heartbeatMilliseconds)), signal);
    if (left <= heartbeatMilliseconds) return true;
    if ((await beat(options, job)) === false) return false;
  }
}

/** Undefined when there was no answer: an executor goes on then. */
async function beat(options: ScriptedExecutorOptions, job: HeldJob): Promise<boolean | undefined> {
  const body = {
    ...greeting(options),
    version: 'V2',
    jobIds: [job.id],
    ...(job.attempt !== undefined && { attempts: { [job.id]: job.attempt } }),
  };
  const reply = await orNothing(options.wire.executor(options.random.of(options.urls), 'heartbeat', body));
  if (reply) checkStatus(options.ledger, 'heartbeat', reply, [200]);
  if (reply?.status !== 200) return undefined;
  return (reply.body as { knownIds: string[] }).knownIds.includes(String(job.id));
}

/** Asks until it is told whether the mark counts; now and then once more than needed, as after a lost answer. */
export async function mark(options: ScriptedExecutorOptions, job: HeldJob, run: Run): Promise<void> {
  const { wire, ledger, random, urls } = options;
  run.mark = random.chance(0.8) ? 'complete' : 'failed';
  const endpoint = run.mark === 'complete' ? 'markComplete' : 'markFailed';
  const body = {
    ...(run.mark === 'failed' && { errorMessage: `effect ${run.effect}` }),
    usage: [{ key: 'step.docker.0', cpuSeconds: run.effect }],
  };
  const giveUpAt = performance.now() + persistenceMilliseconds;
  for (;;) {
    const reply = await orNothing(wire.job(random.of(urls), job, endpoint, body));
    if (reply) checkStatus(ledger, endpoint, reply, [204, 401, 404, 409]);
    if (reply && reply.status < 500) {
      ledger.answered(run, reply.status === 204 ? 'accepted' : 'refused');
      break;
    }
    if (performance.now() > giveUpAt) {
      ledger.problem(`the mark of job ${job.id} by ${job.executorName} got no answer`);
      return;
    }
    await sleep(random.between(100, 500));
  }
  if (run.answer !== 'accepted' || !random.chance(0.1)) return;
  const again = await orNothing(wire.job(random.of(urls), job, endpoint, body));
  if (again) checkStatus(ledger, `a second ${endpoint}`, again, [204]);
}

/** A 503 asks for a second try; every other status that the protocol does not have here is a defect. */
function checkStatus(ledger: Ledger, call: string, { status, body }: Reply, expected: number[]): void {
  if (status === 503 || expected.includes(status)) return;
  ledger.problem(`${call}: ${status} ${JSON.stringify(body)}`);
}

/** Undefined when there was no answer: the instance is gone, or the connection was cut. */
export function orNothing<Value>(call: Promise<Value>): Promise<Value | undefined> {
  return call.catch(() => undefined);
}

/** Until the time is over or `signal` aborts. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
}
