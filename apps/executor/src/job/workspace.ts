import type { StateDirectory } from '../janitor/index.ts';
import type { JobLog } from '../logs/index.ts';
import type { Logger } from '../process-log/index.ts';
import {
  makeWorkspaceDirectory,
  newWorkspacePath,
  removeWorkspaceDirectory,
  type WorkspaceRoot,
} from '../workspace/index.ts';

export interface WorkspaceOptions {
  root: WorkspaceRoot;
  jobId: number;
  state: StateDirectory;
  keep: boolean;
  log: JobLog;
  processLog: Logger;
}

/** Makes a job's workspace directory, recorded so that a successor of a killed executor removes it. */
export async function openWorkspace(
  options: WorkspaceOptions,
): Promise<{ directory: string } & AsyncDisposable> {
  const { log, processLog, jobId } = options;
  const directory = newWorkspacePath(options.root, jobId);
  const record = await options.state.recordWorkspace(directory);
  await makeWorkspaceDirectory(directory);
  return {
    directory,
    async [Symbol.asyncDispose]() {
      const entry = log.begin('teardown.fs', []);
      if (options.keep) {
        entry.note(`the workspace is kept at ${directory}`);
        entry.end(0);
        await record.forget();
        return;
      }
      try {
        await removeWorkspaceDirectory(directory);
        await record.forget();
        entry.end(0);
      } catch (error) {
        entry.note(error instanceof Error ? error.message : String(error));
        entry.end(1);
        record.abandon();
        processLog.error({ error, job: jobId }, 'could not remove a workspace; trying again later');
      }
    },
  };
}
