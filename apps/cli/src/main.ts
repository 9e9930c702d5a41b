import { run } from './program.ts';

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // A second one ends the process even where the first is not obeyed.
    if (interruption.signal.aborted) process.exit(130);
    interruption.abort();
  });
}
// `kiln job list | head` closes the pipe early, which is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
}

// Timers of AbortSignal.timeout() do not keep a process: one that waits for nothing else would end without an answer.
const alive = setInterval(() => undefined, 60_000);
process.exitCode = await run({
  args: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  interrupted: interruption.signal,
});
clearInterval(alive);
