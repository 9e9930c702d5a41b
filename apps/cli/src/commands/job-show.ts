import { jobViewSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { segment } from '../api/client.ts';
import { jobFacts } from '../output/job-facts.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { jobId } from './arguments.ts';

export function addJobShow(job: Command, { invocation }: CommandSetup): void {
  job
    .command('show')
    .description('show one job: its state, why it waits or failed, its steps and what they used')
    .argument('<job>', 'number of the job', jobId)
    .action(async (id: number, _options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const view = await client.call('GET', `/.api/jobs/${segment(id)}`, jobViewSchema);
      if (output.json) return output.jsonLine(view);
      for (const line of jobFacts(view, output, Date.now())) output.line(line);
    });
}
