import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SandboxJob } from '../runtime.ts';
import type { VmSandbox } from './sandbox.ts';

export const tryOutFix =
  'Run "executor test-vm" to look into one. With little memory or disk left, free some; after an upgrade, run "executor install all".';

const script = 'step.sh';
const expected = 'kiln\n';

/**
 * Boots a VM and runs a step in it, in the guest's own files, so that no image is needed.
 * @throws Error saying what was not as it should be
 */
export async function tryStep(
  open: (job: SandboxJob) => Promise<VmSandbox>,
  signal: AbortSignal,
): Promise<void> {
  const workspaceDirectory = await mkdtemp(join(tmpdir(), 'kiln-try-'));
  try {
    await writeFile(join(workspaceDirectory, script), 'cat /etc/hostname\n');
    const notices: string[] = [];
    await using sandbox = await open({
      id: 0,
      attempt: 0,
      workspaceDirectory,
      images: [],
      network: 'none',
      limits: { numCPUs: 1, memoryBytes: 256 * 1024 ** 2, diskBytes: 256 * 1024 ** 2 },
      registryAuth: {},
      notice: (line) => notices.push(line),
    });
    const output: Buffer[] = [];
    const { exitCode } = await sandbox.runInGuest(
      { name: '0', image: '', scriptPath: script, dir: '', env: [] },
      { write: async (_, bytes) => void output.push(Buffer.from(bytes)) },
      signal,
    );
    const said = Buffer.concat(output).toString('utf8');
    if (exitCode !== 0 || said !== expected)
      throw new Error(
        [`a step ended with ${exitCode} and wrote ${JSON.stringify(said.slice(0, 500))}`, ...notices].join(
          '; ',
        ),
      );
  } finally {
    await rm(workspaceDirectory, { recursive: true, force: true });
  }
}
