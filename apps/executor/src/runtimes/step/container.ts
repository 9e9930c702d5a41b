import { posix } from 'node:path';
import { SandboxError, type SandboxStep } from '../runtime.ts';

/** A machine's usual 64 MB are too small for browsers; counts as memory of the step. */
export const sharedMemoryBytes = 256 * 1024 * 1024;
/** Where steps find the workspace. */
export const workspaceTarget = '/data';
/** Processes and threads of one step: large parallel builds fit, a fork bomb does not. */
export const defaultMaxProcesses = 4096;

/** @throws SandboxError for a path outside the workspace */
export function directoryInContainer(step: SandboxStep): string {
  return belowWorkspace(step.dir, 'the working directory');
}

/** @throws SandboxError for a path outside the workspace */
export function scriptInContainer(step: SandboxStep): string {
  return belowWorkspace(step.scriptPath, 'the script');
}

function belowWorkspace(path: string, what: string): string {
  const joined = posix.join(workspaceTarget, path);
  if (
    joined.includes('\0') ||
    (joined !== workspaceTarget &&
      joined !== `${workspaceTarget}/` &&
      !joined.startsWith(`${workspaceTarget}/`))
  )
    throw new SandboxError(`${what} ${JSON.stringify(path)} is outside the workspace`, {
      infrastructure: false,
    });
  return joined.length > workspaceTarget.length ? joined.replace(/\/$/, '') : joined;
}
