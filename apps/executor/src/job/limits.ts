import { formatByteSize, type JobDocument } from '@kiln/protocol';
import type { SandboxLimits } from '../runtimes/runtime.ts';

/**
 * Seconds a job may run: the shorter of its own limit and the executor's.
 * @returns 0 for no limit
 */
export function timeLimitSeconds(document: JobDocument, executorSeconds: number): number {
  const own = document.timeoutSeconds ?? 0;
  if (own === 0 || executorSeconds === 0) return Math.max(own, executorSeconds);
  return Math.min(own, executorSeconds);
}

/** What a job gets, and a line for its log for each thing it asked for and does not get. */
export function sandboxLimits(
  document: JobDocument,
  executor: SandboxLimits,
): { limits: SandboxLimits; notices: string[] } {
  const notices: string[] = [];
  const granted = (asked: number | undefined, most: number, show: (value: number) => string): number => {
    if (asked === undefined || most === 0) return asked ?? most;
    if (asked > most) notices.push(`the job asks for ${show(asked)}; this executor gives ${show(most)}`);
    return Math.min(asked, most);
  };
  const { resources } = document;
  const limits = {
    numCPUs: granted(resources?.numCPUs, executor.numCPUs, (count) => `${count} CPUs`),
    memoryBytes: granted(
      resources?.memoryBytes,
      executor.memoryBytes,
      (bytes) => `${formatByteSize(bytes)} of memory`,
    ),
    diskBytes: granted(
      resources?.diskBytes,
      executor.diskBytes,
      (bytes) => `${formatByteSize(bytes)} of disk`,
    ),
  };
  return { limits, notices };
}
