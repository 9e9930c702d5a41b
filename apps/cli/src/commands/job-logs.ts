import { jobViewSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { describeFailure, segment } from '../api/client.ts';
import { followLog } from '../api/follow-log.ts';
import { LogView } from '../output/log-view.ts';
import { type CommandSetup, openSession, type Session } from '../session.ts';
import { attemptNumber, jobId } from './arguments.ts';

interface LogsOptions {
  follow?: true;
  attempt?: number;
  raw?: true;
}

export function addJobLogs(job: Command, { invocation }: CommandSetup): void {
  job
    .command('logs')
    .description("print a job's log; control sequences other than colours are taken out of it")
    .argument('<job>', 'number of the job', jobId)
    .option('-f, --follow', 'go on until the job ends')
    .option('--attempt <number>', 'only this attempt', attemptNumber)
    .option('--raw', 'the bytes as they were logged: for files and pipes, not for terminals')
    .action(async (id: number, options: LogsOptions, command: Command) => {
      const session = await openSession(command, invocation);
      await (options.raw ? printRaw(session, id, options) : printEvents(session, id, options));
    });
}

async function printEvents(
  { client, output, invocation }: Session,
  id: number,
  options: LogsOptions,
): Promise<void> {
  const { steps } = await client.call('GET', `/.api/jobs/${segment(id)}`, jobViewSchema);
  const view = new LogView(output, { show: 'everything', steps });
  const events = followLog(client, id, {
    follow: options.follow === true,
    attempt: options.attempt,
    interrupted: invocation.interrupted,
    onBroken: (message) => output.note(`${message}; trying again`),
    onResumed: () => output.note('connected again'),
  });
  for await (const event of events) {
    if (output.json) output.jsonLine(event);
    else view.show(event);
  }
}

async function printRaw(
  { client, output, invocation }: Session,
  id: number,
  options: LogsOptions,
): Promise<void> {
  const query = new URLSearchParams();
  if (options.follow) query.set('follow', '1');
  if (options.attempt !== undefined) query.set('attempt', String(options.attempt));
  const path = `/.api/jobs/${segment(id)}/log${query.size > 0 ? `?${query}` : ''}`;
  const response = await client.open(path, { accept: 'text/plain' });
  try {
    for await (const chunk of response.body ?? []) await output.bytes(chunk);
  } catch (error) {
    throw describeFailure(error, client.connection, invocation.interrupted);
  }
}
