import { spawn } from 'node:child_process';
import { lstat, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Runtime, SandboxError, type SandboxStep } from '../../apps/executor/src/runtimes/runtime.ts';

/**
 * TEST ONLY: runs steps with /bin/sh on this machine, without any isolation. It stands in for a runtime in tests of
 * everything around it. The image `missing` cannot be started, `broken-runtime` fails as an infrastructure
 * error, `breaking-runtime` as one while the step ran.
 */
export function createHostRuntime(): Runtime & { readonly open: number } {
  let open = 0;
  return {
    get open() {
      return open;
    },
    name: 'host',
    isolation: { runtime: 'host' },
    validate: async () => [],
    sweep: async () => undefined,
    async create(job, signal) {
      signal.throwIfAborted();
      open++;
      const children = new Set<number>();
      return {
        commandLine: (step) => ['sh', step.scriptPath, step.image, ...step.env],
        async run(step, streams, stop) {
          if (step.image === 'missing')
            throw new SandboxError('there is no image "missing"', { infrastructure: false });
          if (step.image === 'broken-runtime')
            throw new SandboxError('the daemon is gone', { infrastructure: true });
          if (step.image === 'breaking-runtime')
            throw new SandboxError('the daemon went away', { infrastructure: true, stepBegun: true });
          const child = spawn('/bin/sh', [join(job.workspaceDirectory, step.scriptPath)], {
            cwd: join(job.workspaceDirectory, step.dir),
            env: { PATH: process.env['PATH'] ?? '', ...environmentOf(step) },
            stdio: ['ignore', 'pipe', 'pipe'],
            detached: true,
          });
          const { pid } = child;
          if (pid === undefined) throw new SandboxError('cannot start /bin/sh', { infrastructure: true });
          children.add(pid);
          const killed = () => kill(pid);
          stop.addEventListener('abort', killed, { once: true });
          if (stop.aborted) killed();
          const pump = async (name: 'stdout' | 'stderr', source: Readable) => {
            for await (const bytes of source as AsyncIterable<Buffer>) await streams.write(name, bytes);
          };
          const closed = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? -1)));
          const [exitCode] = await Promise.all([
            closed,
            pump('stdout', child.stdout),
            pump('stderr', child.stderr),
          ]);
          stop.removeEventListener('abort', killed);
          children.delete(pid);
          return { exitCode, usage: { cpuSeconds: 0.25 } };
        },
        async readFile(path, maxBytes) {
          const full = join(job.workspaceDirectory, path);
          const found = await lstat(full).catch(() => undefined);
          return found?.isFile() && found.size <= maxBytes ? readFile(full) : undefined;
        },
        async removeFile(name) {
          const full = join(job.workspaceDirectory, name);
          const found = await lstat(full).catch(() => undefined);
          if (found?.isFile()) await rm(full);
          return found !== undefined;
        },
        async [Symbol.asyncDispose]() {
          for (const pid of children) kill(pid);
          open--;
        },
      };
    },
  };
}

function environmentOf(step: SandboxStep): Record<string, string> {
  return Object.fromEntries(
    step.env.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  );
}

function kill(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
