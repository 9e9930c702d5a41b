import type { FileHandle } from 'node:fs/promises';
import type { JobDocument, JobFile } from '@kiln/protocol';
import { type JobClient, withRetries } from '../client/index.ts';
import type { JobLog } from '../logs/index.ts';
import { createFileInside } from './inside.ts';
import { renderScript, scriptPath } from './step-script.ts';

/** The instance may be away for a while (an upgrade); the job's own time limit still holds. */
const outage = { forSeconds: 15 * 60, maxDelaySeconds: 5 };

export interface JobFilesOptions {
  document: JobDocument;
  workspaceDirectory: string;
  client: JobClient;
  log: JobLog;
  signal: AbortSignal;
}

/**
 * Writes the job's files and the scripts of its steps (from the reference), all with mode 0777, as one log entry.
 * @throws UnsafePathError for a path that leaves the workspace; InstanceError for a file that cannot be fetched
 */
export async function writeJobFiles(options: JobFilesOptions): Promise<void> {
  const { document, log, signal } = options;
  const scripts = document.dockerSteps.map((step, index): [string, JobFile] => [
    scriptPath(document, index),
    { content: Buffer.from(renderScript(document, step)) },
  ]);
  const files = [...Object.entries(document.files), ...scripts];
  if (files.length === 0) return;
  const entry = log.begin('setup.fs.extras', []);
  let exitCode = 1;
  try {
    for (const [path, file] of files) {
      signal.throwIfAborted();
      const startedAt = performance.now();
      await writeJobFile(options, path, file);
      const milliseconds = Math.round(performance.now() - startedAt);
      await entry.write('stdout', Buffer.from(`wrote ${JSON.stringify(path)} in ${milliseconds} ms\n`));
    }
    exitCode = 0;
  } finally {
    entry.end(signal.aborted ? -1 : exitCode);
  }
}

async function writeJobFile(options: JobFilesOptions, path: string, file: JobFile): Promise<void> {
  const { workspaceDirectory, client, signal } = options;
  if ('content' in file) {
    await using handle = await createFileInside(workspaceDirectory, path);
    await handle.writeFile(file.content);
    await finish(handle, file);
    return;
  }
  await withRetries(
    async () => {
      const source = await client.openFile(file.bucket, file.key, signal);
      await using handle = await createFileInside(workspaceDirectory, path);
      await handle.writeFile(source, { signal });
      await finish(handle, file);
    },
    outage,
    signal,
  );
}

async function finish(handle: FileHandle, file: JobFile): Promise<void> {
  await handle.chmod(0o777);
  const modified = file.modifiedAt === undefined ? Number.NaN : Date.parse(file.modifiedAt);
  if (!Number.isNaN(modified)) await handle.utimes(modified / 1000, modified / 1000);
}
