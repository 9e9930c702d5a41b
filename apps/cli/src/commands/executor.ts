import { type ExecutorView, executorListSchema } from '@kiln/protocol';
import type { Command } from 'commander';
import { z } from 'zod';
import { segment } from '../api/client.ts';
import { showAge } from '../output/durations.ts';
import { table } from '../output/table.ts';
import { type CommandSetup, openSession } from '../session.ts';
import { addExecutorToken } from './executor-token.ts';

export function addExecutorCommands(program: Command, setup: CommandSetup): void {
  const executor = program.command('executor').description('the executors that serve the instance');
  addExecutorToken(executor, setup);

  executor
    .command('list')
    .description('list executors, how they isolate jobs, and how busy they are')
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, setup.invocation);
      const list = await client.call('GET', '/.api/executors', executorListSchema);
      if (output.json) return output.jsonLine(list);
      if (list.executors.length === 0) {
        return output.note('no executor has connected; how to start one: kiln executor token');
      }
      const now = Date.now();
      const rows = list.executors.map((view) => executorRow(view, now));
      for (const line of table(['NAME', 'STATE', 'QUEUES', 'JOBS', 'ISOLATION', 'VERSION', 'SEEN'], rows)) {
        output.line(line);
      }
    });

  for (const [name, description, done] of [
    ['drain', 'give an executor no more jobs; those that run go on', 'is draining'],
    ['resume', 'give a drained executor jobs again', 'takes jobs again'],
  ] as const) {
    executor
      .command(name)
      .description(description)
      .argument('<name>', 'name of the executor, see: kiln executor list')
      .action(async (executorName: string, _options: object, command: Command) => {
        const { client, output } = await openSession(command, setup.invocation);
        const path = `/.api/executors/${segment(executorName)}/${name}`;
        const view = await client.call('POST', path, z.unknown());
        if (output.json) output.jsonLine(view);
        else output.line(`${executorName} ${done}`);
      });
  }
}

function executorRow(view: ExecutorView, nowMs: number): string[] {
  const isolation = view.isolation;
  const seen = showAge(view.lastSeenAt, nowMs);
  return [
    view.name,
    view.active ? (view.draining ? 'draining' : 'active') : (view.endedBecause ?? 'gone'),
    view.queues.join(','),
    view.slots === null ? '' : `${view.running ?? 0}/${view.slots}`,
    isolation ? [isolation.runtime, isolation.vmm, isolation.accelerator].filter(Boolean).join(', ') : '',
    `${view.executorVersion}${view.compatibility === 'OUTDATED' ? ' (outdated)' : ''}`,
    seen,
  ];
}
