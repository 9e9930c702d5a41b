import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { jobListSchema } from '@kiln/protocol';
import {
  checkout,
  type InstanceProcess,
  startExecutorProcess,
  startInstanceProcess,
} from '../process/programs.ts';
import type { SitePids } from './kept.ts';
import { type DemoIsolation, startSandboxes } from './sandboxes.ts';

/** What the demo runs: an instance, an executor, and a Docker daemon where steps run in containers and none answers. */
export interface DemoSite extends AsyncDisposable {
  instance: InstanceProcess;
  pids: SitePids;
}

/** Sockets of daemons and VMs lie below it, and the path of a socket is at most 107 characters long. */
const maxDirectoryLength = 60;

/** Everything the demo keeps by default, so that a second run starts where the first one ended. */
export function demoDirectory(): string {
  const own = path.join(checkout, '.kiln', 'demo');
  return own.length <= maxDirectoryLength
    ? own
    : path.join(tmpdir(), `kiln-demo-${process.getuid?.() ?? 'user'}`);
}

export interface SiteStart {
  isolation: DemoIsolation;
  say(line: string): void;
  signal: AbortSignal;
  outlives: boolean;
  /** What the instance is asked to do while the executor starts. */
  prepare(instance: InstanceProcess): Promise<void>;
}

export async function startSite(
  directory: string,
  { isolation, say, signal, outlives, prepare }: SiteStart,
): Promise<DemoSite> {
  await mkdir(directory, { recursive: true, mode: 0o711 });
  await using stack = new AsyncDisposableStack();
  const executorDirectory = path.join(directory, 'executor');
  const sandboxes = stack.use(
    await startSandboxes(isolation, { directory, executorDirectory, say, signal, outlives }),
  );
  signal.throwIfAborted();
  const starting = startInstanceProcess({
    dataDirectory: path.join(directory, 'instance'),
    logFile: path.join(directory, 'instance.log'),
    signal,
    outlives,
  });
  const instance = await inUse(stack, starting, sandboxes.ready);
  say(`an instance runs at ${instance.url} (log: ${show(instance.process.logFile)})`);
  await cancelLeftJobs(instance, signal);
  const executorStart = startExecutorProcess({
    instance,
    dataDirectory: executorDirectory,
    env: sandboxes.env,
    logFile: path.join(directory, 'executor.log'),
    signal,
    outlives,
  });
  const executor = await inUse(stack, executorStart, prepare(instance));
  say(`an executor serves it (log: ${show(executor.logFile)})`);
  // An executor lets running jobs finish at the first signal and gives them back at the second: nobody who interrupts
  // the demo wants to wait for its job. Two different ones, because two of a kind may arrive as one.
  const hurry = (): void => executor.signal('SIGINT');
  signal.addEventListener('abort', hurry, { once: true });
  // From here on it is for the caller to stop.
  stack.move();
  return {
    instance,
    pids: {
      executor: executor.pid,
      instance: instance.process.pid,
      ...(sandboxes.dockerPid === undefined ? {} : { docker: sandboxes.dockerPid }),
    },
    async [Symbol.asyncDispose]() {
      try {
        // First, since it gives its job back to the instance and removes its sandboxes.
        await executor[Symbol.asyncDispose]();
      } finally {
        await Promise.all([instance[Symbol.asyncDispose](), sandboxes[Symbol.asyncDispose]()]);
      }
    },
  };
}

/**
 * Waits for a process's start and for what goes on beside it. Both are waited for in any case, so that what one has
 * begun is there to be stopped when the other fails.
 */
async function inUse<Started extends AsyncDisposable>(
  stack: AsyncDisposableStack,
  starting: Promise<Started>,
  beside: Promise<void>,
): Promise<Started> {
  const [start, other] = await Promise.allSettled([starting, beside]);
  if (start.status === 'rejected') throw start.reason;
  stack.use(start.value);
  if (other.status === 'rejected') throw other.reason;
  return start.value;
}

/** An interrupted demo leaves its job unfinished; the executor would take it before the one of this demo. */
async function cancelLeftJobs({ url, adminToken }: InstanceProcess, signal: AbortSignal): Promise<void> {
  const headers = { authorization: `token ${adminToken}` };
  for (const state of ['queued', 'processing']) {
    const response = await fetch(`${url}/.api/jobs?state=${state}`, { headers, signal });
    const { jobs } = jobListSchema.parse(await response.json());
    for (const { id } of jobs) {
      await fetch(`${url}/.api/jobs/${id}/cancel`, { method: 'POST', headers, signal });
    }
  }
}

/** Relative to the working directory where that is shorter. */
export function show(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative !== '' && relative.length < file.length ? relative : file;
}
