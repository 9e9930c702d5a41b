import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createDockerRuntime } from '../../apps/executor/src/runtimes/docker/index.ts';
import { createMicrovmRuntime } from '../../apps/executor/src/runtimes/microvm/index.ts';

/**
 * An executor that is killed while its step runs. Writes `running` when it does.
 * Arguments: runtime, data directory, image, and the daemon's socket or for microvm the network namespace.
 */
const [runtimeName, dataDirectory = '', image = '', address = ''] = process.argv.slice(2);
const workspaceDirectory = join(dataDirectory, 'crashing');
await mkdir(workspaceDirectory, { recursive: true });
await writeFile(join(workspaceDirectory, 's.sh'), 'echo running; exec sleep 600.9375\n');
const common = {
  executorName: 'crashing-00000000',
  dataDirectory,
  allowLocalImages: true,
  instanceURL: new URL('http://127.0.0.1:1'),
  minFreeDiskBytes: 0,
  warn: (message: string, error: unknown) => console.error(message, error),
};
const runtime =
  runtimeName === 'docker'
    ? createDockerRuntime({ ...common, dockerHost: address })
    : createMicrovmRuntime({
        ...common,
        vmPrefix: 'kiln',
        maxImageBytes: 1024 ** 3,
        networkNamespace: address,
      });
const sandbox = await runtime.create(
  {
    id: 77,
    attempt: 2,
    workspaceDirectory,
    images: [image],
    network: 'public',
    limits: { numCPUs: 1, memoryBytes: 256 * 1024 ** 2, diskBytes: 1024 ** 3 },
    registryAuth: {},
    notice: (line) => console.error(line),
  },
  AbortSignal.timeout(150_000),
);
await sandbox.run(
  { name: '0', image, scriptPath: 's.sh', dir: '', env: [] },
  { write: async (_, bytes) => void process.stdout.write(bytes) },
  new AbortController().signal,
);
