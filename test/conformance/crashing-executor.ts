import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createDockerRuntime } from '../../apps/executor/src/runtimes/docker/index.ts';

/**
 * An executor that is killed while its step runs. Writes `running` when it does.
 * Arguments: runtime, data directory, image, and for docker the daemon's socket.
 */
const [runtimeName, dataDirectory = '', image = '', dockerHost = ''] = process.argv.slice(2);
if (runtimeName !== 'docker') throw new Error(`no runtime ${runtimeName}`);
const workspaceDirectory = join(dataDirectory, 'crashing');
await mkdir(workspaceDirectory, { recursive: true });
await writeFile(join(workspaceDirectory, 's.sh'), 'echo running; exec sleep 600.9375\n');
const runtime = createDockerRuntime({
  executorName: 'crashing-00000000',
  dataDirectory,
  dockerHost,
  allowLocalImages: true,
  instanceURL: new URL('http://127.0.0.1:1'),
  minFreeDiskBytes: 0,
  warn: (message, error) => console.error(message, error),
});
const sandbox = await runtime.create(
  {
    id: 77,
    attempt: 2,
    workspaceDirectory,
    images: [image],
    network: 'public',
    limits: { numCPUs: 1, memoryBytes: 0, diskBytes: 0 },
    registryAuth: {},
    notice: (line) => console.error(line),
  },
  AbortSignal.timeout(60_000),
);
await sandbox.run(
  { name: '0', image, scriptPath: 's.sh', dir: '', env: [] },
  { write: async (_, bytes) => void process.stdout.write(bytes) },
  new AbortController().signal,
);
