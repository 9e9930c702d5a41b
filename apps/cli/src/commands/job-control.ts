import { isEnded, type JobView, jobViewSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { segment } from '../api/client.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { waitForJob } from '../wait-for-job.ts';
import { jobId } from './arguments.ts';

/** `cancel` and `retry`. */
export function addJobControl(job: Command, { invocation, setExitCode }: CommandSetup): void {
  job
    .command('cancel')
    .description('cancel a job: at once where it is queued, else its executor kills what runs')
    .argument('<job>', 'number of the job', jobId)
    .action(async (id: number, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const view = await client.call('POST', `/.api/jobs/${segment(id)}/cancel`, jobViewSchema);
      if (output.json) output.jsonLine(view);
      else output.line(`job ${view.id} ${canceledText(view)}`);
    });
  job
    .command('retry')
    .description('queue an ended job again, as its next attempt')
    .argument('<job>', 'number of the job', jobId)
    .option('-w, --wait', 'follow the job and exit with its outcome')
    .action(async (id: number, options: { wait?: true }, command: Command) => {
      const session = await openSession(command, invocation);
      const queuedAtMs = performance.now();
      const view = await session.client.call('POST', `/.api/jobs/${segment(id)}/retry`, jobViewSchema);
      if (options.wait) {
        session.output.note(`job ${view.id} queued again`);
        setExitCode(await waitForJob(session, view, queuedAtMs));
      } else if (session.output.json) session.output.jsonLine(view);
      else session.output.line(`job ${view.id} queued again`);
    });
}

function canceledText(job: JobView): string {
  return isEnded(job.state) ? job.state : 'is being canceled';
}
