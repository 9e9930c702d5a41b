import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A registry with one image under any name; names that begin with `private/` need `user:password`. */
export interface TestRegistry extends AsyncDisposable {
  /** Begins image references: `127.0.0.1:5000`. */
  host: string;
  /** `GET /v2/tool/manifests/1 user` or `GET layer anonymous`, in the order of arrival. */
  requests: string[];
  /** Refuses the next manifest requests for their number. */
  throttle(count: number): void;
}

/** Starts it in a network namespace, on the loopback address, where Docker needs no certificate. */
export async function startTestRegistry(namespace: string): Promise<TestRegistry> {
  const server = spawn(
    'nsenter',
    [`--net=${namespace}`, '--', process.execPath, join(import.meta.dirname, 'registry-server.ts')],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const requests: string[] = [];
  const lines = createInterface({ input: server.stdout });
  await once(lines, 'line');
  lines.on('line', (line) => requests.push(line));
  return {
    host: '127.0.0.1:5000',
    requests,
    throttle: (count) => void server.stdin.write(`${count}\n`),
    [Symbol.asyncDispose]: () => end(server),
  };
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGKILL');
  await exited;
}
