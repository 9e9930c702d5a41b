import { processTerminal, runCommandLine } from './cli/index.ts';

// Ends the process by itself: an idle connection to the instance or to a daemon must not keep it alive.
process.exit(
  await runCommandLine({
    args: process.argv.slice(2),
    env: process.env,
    terminal: processTerminal(),
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    onSignal: (handler) => {
      for (const name of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(name, () => handler(name));
    },
  }),
);
