import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { joinSockets } from './join-sockets.ts';

/** Makes a port of this machine's loopback address reachable on that of a network namespace too, under the same number. */
export async function forwardPort(networkNamespace: string, port: number): Promise<AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'kf-'));
  // The file system is common to all network namespaces.
  const socketPath = join(directory, 'socket');
  const server = createServer((socket) => joinSockets(socket, connect(port, '127.0.0.1')));
  server.listen(socketPath);
  await once(server, 'listening');
  const program = spawn(
    'nsenter',
    [
      `--net=${networkNamespace}`,
      '--',
      process.execPath,
      join(import.meta.dirname, 'port-forwarder.ts'),
      String(port),
      socketPath,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await once(createInterface({ input: program.stdout }), 'line');
  return {
    async [Symbol.asyncDispose]() {
      const exited = once(program, 'exit');
      program.kill('SIGKILL');
      await exited;
      server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
