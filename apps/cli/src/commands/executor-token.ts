import type { Command } from 'commander';
import { z } from 'zod';
import { type CommandSetup, openSession } from '../session.ts';

const executorTokenSchema = z.object({ accessToken: z.string(), externalURL: z.string().nullable() });

export function addExecutorToken(executor: Command, { invocation }: CommandSetup): void {
  executor
    .command('token')
    .description('print the shared secret of executors, and how to start an executor with it')
    .action(async (_options: object, command: Command) => {
      const { client, output } = await openSession(command, invocation);
      const answer = await client.call('GET', '/.api/site-config/executor-token', executorTokenSchema);
      if (output.json) return output.jsonLine(answer);
      output.line(answer.accessToken);
      const url = answer.externalURL ?? client.connection.url;
      output.note('');
      output.note('This secret lets its holder take jobs. To start an executor without showing it:');
      output.note('');
      output.note(`  export EXECUTOR_FRONTEND_URL=${url}`);
      output.note('  export EXECUTOR_FRONTEND_PASSWORD="$(kiln executor token 2>/dev/null)"');
      output.note('  export EXECUTOR_QUEUE_NAME=jobs');
      output.note('  executor install all      # once; or: export EXECUTOR_USE_FIRECRACKER=false');
      output.note('  executor run');
    });
}
