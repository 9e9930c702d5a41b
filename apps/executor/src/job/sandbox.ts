import { setTimeout as sleep } from 'node:timers/promises';
import type { JobLog, LogEntry } from '../logs/index.ts';
import type { Logger } from '../process-log/index.ts';
import type { Runtime, Sandbox, SandboxJob } from '../runtimes/runtime.ts';

const teardownSeconds = 120;

/**
 * Makes a job's sandbox. What the runtime has to say goes into the step that runs, or into an entry of its own while
 * none does. Disposing has a deadline of its own, so that a canceled or late job is cleaned up like any other.
 * @param later takes what is left to remove when nothing of the sandbox runs any more: nobody has to wait for it
 */
export async function openSandbox(
  runtime: Runtime,
  job: Omit<SandboxJob, 'notice'>,
  notices: readonly string[],
  log: JobLog,
  processLog: Logger,
  signal: AbortSignal,
  later: (work: Promise<void>) => void,
): Promise<{ sandbox: Sandbox } & AsyncDisposable> {
  const place = runtime.name === 'microvm' ? 'vm' : runtime.name;
  let isMade = false;
  let setup: LogEntry | undefined;
  const notice = (line: string) => {
    const current = setup ?? log.current();
    if (current !== undefined) {
      current.note(line);
      return;
    }
    const entry = log.begin(`setup.${place}.start`, []);
    entry.note(line);
    // Between two steps nobody would end it, and the log would never be complete.
    if (isMade) entry.end(0);
    else setup = entry;
  };
  for (const line of notices) notice(line);
  try {
    const sandbox = await runtime.create({ ...job, notice }, signal);
    isMade = true;
    setup?.end(0);
    setup = undefined;
    return {
      sandbox,
      async [Symbol.asyncDispose]() {
        const failed = (error: unknown) =>
          processLog.error({ error, job: job.id }, 'could not remove all of a sandbox');
        await tearDown(sandbox, log.begin(`teardown.${place}.remove`, []), failed);
        if (sandbox.close !== undefined) later(inTime(sandbox[Symbol.asyncDispose]()).catch(failed));
      },
    };
  } catch (error) {
    if (error instanceof Error && !signal.aborted) notice(error.message);
    setup?.end(1);
    throw error;
  }
}

async function tearDown(sandbox: Sandbox, entry: LogEntry, failed: (error: unknown) => void): Promise<void> {
  try {
    await inTime(sandbox.close?.() ?? sandbox[Symbol.asyncDispose]());
    entry.end(0);
  } catch (error) {
    // The steps' outcome stands: what is left behind is the executor's problem, not the job's.
    entry.note(error instanceof Error ? error.message : String(error));
    entry.end(1);
    failed(error);
  }
}

async function inTime(work: Promise<void>): Promise<void> {
  const late = Symbol();
  const deadline = sleep(teardownSeconds * 1000, late, { ref: false });
  if ((await Promise.race([work, deadline])) === late)
    throw new Error(`not done within ${teardownSeconds} s; the janitor goes on with it`);
}
