import { jobListSchema, jobStates, queueNames } from '@kiln/protocol';
import { type Command, Option } from 'commander';
import { jobTable } from '../output/job-facts.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { pageSize } from './arguments.ts';

export function addJobList(job: Command, { invocation }: CommandSetup): void {
  job
    .command('list')
    .description('list jobs, newest first')
    .addOption(new Option('--state <state>', 'only jobs in this state').choices(jobStates))
    .addOption(new Option('--queue <name>', 'only jobs of this queue').choices(queueNames))
    .option('--namespace <name>', 'only jobs of this user or organization')
    .option('--first <number>', 'how many', pageSize, 30)
    .option('--after <cursor>', 'go on where an earlier list ended')
    .action(
      async (
        options: { state?: string; queue?: string; namespace?: string; first: number; after?: string },
        command: Command,
      ) => {
        const { client, output } = await openSession(command, invocation);
        const query = new URLSearchParams({ first: String(options.first) });
        for (const name of ['state', 'queue', 'namespace', 'after'] as const) {
          const value = options[name];
          if (value !== undefined) query.set(name, value);
        }
        const list = await client.call('GET', `/.api/jobs?${query}`, jobListSchema);
        if (output.json) return output.jsonLine(list);
        if (list.jobs.length === 0) return output.note('no jobs');
        for (const line of jobTable(list.jobs, Date.now())) output.line(line);
        if (list.nextCursor !== null) output.note(`older jobs: --after ${list.nextCursor}`);
      },
    );
}
