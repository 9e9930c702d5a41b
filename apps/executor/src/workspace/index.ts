export {
  makeWorkspaceDirectory,
  newWorkspacePath,
  prepareWorkspaceRoot,
  removeWorkspaceDirectory,
  type WorkspaceRoot,
} from './directory.ts';
export { cloneRepository } from './git-clone.ts';
export { openGitProxy, proxyKeyHeader } from './git-proxy.ts';
export { checkGit, type GitCheck } from './git-version.ts';
export { runHostCommand } from './host-command.ts';
export { makeDirectoryInside, pathComponents, UnsafePathError } from './inside.ts';
export { writeJobFiles } from './job-files.ts';
export { scriptPath } from './step-script.ts';
