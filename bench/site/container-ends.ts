import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { programEnvironment } from '../../tools/process/programs.ts';

/** Tells when containers of a daemon end, by the daemon's own clock, which is this machine's. */
export interface ContainerEnds extends Disposable {
  /** The next end after this call, in milliseconds as of `Date.now()`. */
  next(): Promise<number>;
}

export function watchContainerEnds(dockerSocket: string): ContainerEnds {
  const events = spawn(
    'docker',
    ['events', '--filter', 'type=container', '--filter', 'event=die', '--format', '{{.TimeNano}}'],
    {
      env: programEnvironment({ DOCKER_HOST: `unix://${dockerSocket}` }),
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let next = Promise.withResolvers<number>();
  createInterface(events.stdout).on('line', (line) => {
    next.resolve(Number(BigInt(line) / 1000n) / 1000);
    next = Promise.withResolvers();
  });
  events.on('error', (error) => next.reject(error));
  return { next: () => next.promise, [Symbol.dispose]: () => void events.kill() };
}
