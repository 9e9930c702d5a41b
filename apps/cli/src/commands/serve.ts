import type { Command } from 'commander';
import type { CommandSetup } from '../session.ts';

interface ServeOptions {
  data?: string;
  listen?: string;
}

export function addServe(program: Command, { invocation }: CommandSetup): void {
  program
    .command('serve')
    .description('run an instance in the foreground until SIGTERM or Ctrl-C')
    .option('--data <directory>', 'where it keeps everything (KILN_DATA_DIR, default: .kiln)')
    .option('--listen <host:port>', 'where it listens (KILN_LISTEN, default: 127.0.0.1:3080)')
    .action(async (options: ServeOptions) => {
      // Loaded here: every other command would pay for the whole instance.
      const { startInstance } = await import('@kiln/instance');
      void startInstance;
      void options;
      void invocation;
    });
}
