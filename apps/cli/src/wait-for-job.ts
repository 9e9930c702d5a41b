import { isEnded, type JobView, jobViewSchema } from '@kiln/protocol';
import { segment } from './api/client.ts';
import { followLog } from './api/follow-log.ts';
import { type ExitCode, exitCodes, Interrupted } from './errors.ts';
import { showMilliseconds } from './output/durations.ts';
import { isolationText, stateText, tookText } from './output/job-facts.ts';
import { LogView } from './output/log-view.ts';
import type { Session } from './session.ts';

/**
 * Follows a job to its end, shows each step's progress and output, and ends with its outcome.
 * @param job as it was submitted or queued again
 * @param submittedAtMs `performance.now()` just before that request
 */
export async function waitForJob(session: Session, job: JobView, submittedAtMs: number): Promise<ExitCode> {
  const { client, output, invocation } = session;
  let firstOutputMs: number | undefined;
  const view = new LogView(output, {
    show: 'steps',
    steps: job.steps,
    onFirstOutput: () => {
      firstOutputMs = performance.now() - submittedAtMs;
    },
  });
  const events = followLog(client, job.id, {
    follow: true,
    interrupted: invocation.interrupted,
    onBroken: (message) => output.note(output.style('yellow', `${message}; trying again`)),
    onResumed: () => output.note(output.style('yellow', 'connected again')),
  });
  try {
    for await (const event of events) {
      // An earlier attempt's log is no news to whoever waits for a retry.
      const earlier =
        (event.event === 'entry' || event.event === 'output') && event.data.attempt <= job.attempt;
      if (!earlier && !output.json) view.show(event);
    }
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    throw new Interrupted(
      `no longer waiting; job ${job.id} goes on (kiln job logs --follow ${job.id}, kiln job cancel ${job.id})`,
    );
  }
  const ended = await client.call('GET', `/.api/jobs/${segment(job.id)}`, jobViewSchema);
  if (output.json) output.jsonLine(ended);
  else summarize(session, ended, firstOutputMs);
  return outcomeExitCode(ended);
}

function outcomeExitCode(job: JobView): ExitCode {
  if (job.state === 'completed') return exitCodes.ok;
  return job.state === 'canceled' ? exitCodes.jobCanceled : exitCodes.jobFailed;
}

function summarize({ output }: Session, job: JobView, firstOutputMs: number | undefined): void {
  const took = tookText(job);
  const state = stateText(job, output, 'stderr');
  output.note(
    `job ${job.id} ${isEnded(job.state) ? '' : 'is '}${state}${took === undefined ? '' : ` in ${took}`}`,
  );
  if (job.failureMessage) output.note(output.style('red', `  ${job.failureMessage}`));
  const isolation = isolationText(job);
  if (isolation) output.note(output.style('dim', `  isolation: ${isolation}`));
  if (firstOutputMs !== undefined) {
    output.note(output.style('dim', `  first output: ${showMilliseconds(firstOutputMs)} after submit`));
  }
}
