import { setTimeout as sleep } from 'node:timers/promises';
import type { JobLog, LogEntry } from '../logs/index.ts';
import type { Logger } from '../process-log/index.ts';
import type { Runtime, Sandbox, SandboxJob } from '../runtimes/runtime.ts';

const teardownSeconds = 120;

/**
 * Makes a job's sandbox. What the runtime has to say goes into the step that runs, or into an entry of its own while
 * none does. Disposing has a deadline of its own, so that a canceled or late job is cleaned up like any other.
 */
export async function openSandbox(
  runtime: Runtime,
  job: Omit<SandboxJob, 'notice'>,
  notices: readonly string[],
  log: JobLog,
  processLog: Logger,
  signal: AbortSignal,
): Promise<{ sandbox: Sandbox } & AsyncDisposable> {
  const place = runtime.name === 'microvm' ? 'vm' : runtime.name;
  let setup: LogEntry | undefined;
  const notice = (line: string) => {
    setup ??= log.current() === undefined ? log.begin(`setup.${place}.start`, []) : undefined;
    (setup ?? log.current())?.note(line);
  };
  for (const line of notices) notice(line);
  try {
    const sandbox = await runtime.create({ ...job, notice }, signal);
    setup?.end(0);
    setup = undefined;
    return {
      sandbox,
      [Symbol.asyncDispose]: () => tearDown(sandbox, `teardown.${place}.remove`, job.id, log, processLog),
    };
  } catch (error) {
    if (error instanceof Error && !signal.aborted) notice(error.message);
    setup?.end(1);
    throw error;
  }
}

async function tearDown(
  sandbox: Sandbox,
  key: string,
  jobId: number,
  log: JobLog,
  processLog: Logger,
): Promise<void> {
  const entry = log.begin(key, []);
  const late = Symbol();
  try {
    const deadline = sleep(teardownSeconds * 1000, late, { ref: false });
    const done = await Promise.race([sandbox[Symbol.asyncDispose](), deadline]);
    if (done === late) throw new Error(`not done within ${teardownSeconds} s; the janitor goes on with it`);
    entry.end(0);
  } catch (error) {
    // The steps' outcome stands: what is left behind is the executor's problem, not the job's.
    entry.note(error instanceof Error ? error.message : String(error));
    entry.end(1);
    processLog.error({ error, job: jobId }, 'could not remove all of a sandbox');
  }
}
