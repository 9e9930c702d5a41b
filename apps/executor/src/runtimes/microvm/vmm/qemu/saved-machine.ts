import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, open } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { VmError, type VmSpec } from '../vmm.ts';
import type { Qmp } from './qmp.ts';

const seconds = 60;
const pollMilliseconds = 10;
const stateSocket = 'state.sock';
/** QEMU holds itself back for the sake of a network otherwise. */
const bytesPerSecond = 2 ** 40;

const statusSchema = z.object({ status: z.string() });
const migrationSchema = z.object({ status: z.string(), 'error-desc': z.string().optional() });

/**
 * Stops a machine for good and keeps its state in a file. QEMU sends it over a socket in its own directory: the file is none that its
 * user could open.
 * @param path closed to others; must not exist
 * @throws VmError; an unfinished file may stay
 */
export async function saveMachine(qmp: Qmp, spec: VmSpec, path: string): Promise<void> {
  const deadline = AbortSignal.timeout(seconds * 1000);
  const socketPath = join(spec.directory, stateSocket);
  const server = createServer({ pauseOnConnect: true });
  try {
    server.listen(socketPath);
    await once(server, 'listening', { signal: deadline });
    await chown(socketPath, spec.uid, spec.uid);
    await qmp.execute('stop');
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': bytesPerSecond });
    await Promise.all([
      receive(server, path, deadline),
      qmp.execute('migrate', { uri: `unix:${stateSocket}` }).then(() => untilSaved(qmp, deadline)),
    ]);
  } catch (error) {
    throw new VmError(
      `the state of the VM could not be saved: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  } finally {
    server.close();
  }
}

/** By a program of its own: through this process it would leave a hundred MB for the garbage collector. */
async function receive(server: Server, path: string, deadline: AbortSignal): Promise<void> {
  const [socket] = (await once(server, 'connection', { signal: deadline })) as [Socket];
  await using file = await open(path, 'wx', 0o600);
  const copy = spawn('cat', [], { stdio: [socket, file.fd, 'ignore'], env: {}, signal: deadline });
  socket.destroy();
  const [code] = await once(copy, 'close');
  if (code !== 0) throw new VmError(`it could not be written to ${path}`);
}

async function untilSaved(qmp: Qmp, deadline: AbortSignal): Promise<void> {
  for (;;) {
    const migration = migrationSchema.parse(await qmp.execute('query-migrate'));
    if (migration.status === 'completed') return;
    if (migration.status === 'failed')
      throw new VmError(`QEMU: ${migration['error-desc'] ?? 'no reason given'}`);
    await wait(pollMilliseconds, undefined, { signal: deadline });
  }
}

/** Has a machine whose state is being read go on. One that cannot be read ends QEMU. */
export async function resumeMachine(qmp: Qmp): Promise<void> {
  const deadline = AbortSignal.timeout(seconds * 1000);
  while (statusSchema.parse(await qmp.execute('query-status')).status === 'inmigrate')
    await wait(pollMilliseconds, undefined, { signal: deadline });
  await qmp.execute('cont');
}
