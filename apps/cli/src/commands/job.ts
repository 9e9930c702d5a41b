import type { Command } from 'commander';
import type { CommandSetup } from '../session.ts';
import { addJobControl } from './job-control.ts';
import { addJobList } from './job-list.ts';
import { addJobLogs } from './job-logs.ts';
import { addJobShow } from './job-show.ts';
import { addJobSubmit } from './job-submit.ts';

export function addJobCommands(program: Command, setup: CommandSetup): void {
  const job = program.command('job').description('submit jobs and see what became of them');
  addJobSubmit(job, setup);
  addJobList(job, setup);
  addJobShow(job, setup);
  addJobLogs(job, setup);
  addJobControl(job, setup);
}
