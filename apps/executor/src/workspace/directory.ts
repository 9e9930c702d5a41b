import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const removalSeconds = 300;

/** Where workspaces are made. */
export interface WorkspaceRoot {
  directory: string;
}

/**
 * Prepares the parent of all workspaces below TMPDIR. It is closed to other users of the machine, because the
 * workspaces themselves are open: steps run as whatever user their image says.
 * @param shared the Docker daemon knows TMPDIR by another path, so workspaces must be directly below it
 * @throws Error when somebody else owns what stands there
 */
export async function prepareWorkspaceRoot(
  temporaryDirectory: string,
  shared: boolean,
): Promise<WorkspaceRoot> {
  await mkdir(temporaryDirectory, { recursive: true });
  if (shared) return { directory: temporaryDirectory };
  const uid = process.getuid?.() ?? 0;
  const directory = join(temporaryDirectory, `kiln-executor-${uid}`);
  await mkdir(directory, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(directory);
  if (!found.isDirectory() || found.uid !== uid)
    throw new Error(
      `${directory} is not a directory of this user: remove it, or set TMPDIR to a directory of your own`,
    );
  await chmod(directory, 0o700);
  return { directory };
}

/** The path a new workspace will have, so that it can be recorded before it exists. */
export function newWorkspacePath(root: WorkspaceRoot, jobId: number): string {
  return join(root.directory, `workspace-${jobId}-${randomBytes(6).toString('hex')}`);
}

export async function makeWorkspaceDirectory(path: string): Promise<void> {
  await mkdir(path);
  await chmod(path, 0o777);
}

/**
 * Removes a workspace with all that steps left in it, never following a link. Done by `rm`, which goes down by
 * directory handles and so also removes trees deeper than the longest path.
 * @throws Error naming what is left
 */
export async function removeWorkspaceDirectory(path: string): Promise<void> {
  // Not the executor's own environment, which holds the shared secret.
  const options = { timeout: removalSeconds * 1000, env: { PATH: process.env['PATH'] ?? '' } };
  try {
    await execute('rm', ['-rf', '--', path], options);
  } catch {
    // Directories that a step closed even to their owner: open them and try once more.
    await execute('chmod', ['-R', 'u+rwX', '--', path], options).catch(() => undefined);
    try {
      await execute('rm', ['-rf', '--', path], options);
    } catch (cause) {
      const said = String(Reflect.get(cause as object, 'stderr') ?? '').split('\n')[0] ?? '';
      throw new Error(
        `the workspace ${path} could not be removed (files of another user?): ${said.slice(0, 300)}`,
        { cause },
      );
    }
  }
}
