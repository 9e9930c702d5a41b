import { createInstanceClient } from '../client/index.ts';
import { createPrintedLog } from '../logs/index.ts';
import { cloneRepository } from '../workspace/index.ts';
import type { Start } from './start.ts';

export interface TestVmRepository {
  /** As the instance names it. */
  repo: string;
  /** A commit, or a branch. */
  revision: string;
}

/**
 * Clones a repository of the instance the way jobs do, but with the shared secret, since there is no job.
 * @param directory gets the work tree; exists and is empty
 * @param write what the commands print
 * @throws Error that says what to do when the instance gives repositories to nobody but jobs
 */
export async function cloneForTestVm(
  { settings, executorName }: Pick<Start, 'settings' | 'executorName'>,
  { repo, revision }: TestVmRepository,
  places: { directory: string; stateDirectory: string; path: string },
  write: (text: string | Uint8Array) => void,
  signal: AbortSignal,
): Promise<void> {
  await using client = createInstanceClient({
    baseUrl: settings.frontendUrl,
    sharedSecret: settings.sharedSecret,
    executorName,
    queues: settings.queues,
    resources: { numCPUs: 0, memoryBytes: 0, diskBytes: 0 },
  });
  const [queue] = settings.queues.names;
  const noJob = client.forJob({ id: 0, queue, attempt: undefined, token: '', executorName });
  try {
    await cloneRepository({
      document: {
        repositoryName: repo,
        commit: revision,
        repositoryDirectory: '',
        fetchTags: false,
        shallowClone: true,
        sparseCheckout: [],
      },
      workspaceDirectory: places.directory,
      stateDirectory: places.stateDirectory,
      client: noJob,
      log: createPrintedLog(write),
      path: places.path,
      signal,
    });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!/\b403\b/.test(message)) throw error;
    throw new Error(
      `${message}: the instance gives repositories to jobs alone ("executors.requireJobTokens"); clone it yourself and use --directory`,
      { cause: error },
    );
  }
}
