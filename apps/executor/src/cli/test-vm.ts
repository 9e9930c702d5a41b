import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openMicrovmRuntime } from '../choose-runtime.ts';
import { start } from './start.ts';
import type { CommandSurroundings } from './surroundings.ts';
import { cloneForTestVm, type TestVmRepository } from './test-vm-repository.ts';

export interface TestVmOptions {
  /** What the VM's workspace holds: a copy of a directory, or a repository of the instance; undefined: nothing. */
  workspace: { directory: string } | TestVmRepository | undefined;
  /** Prints nothing but the VM's name, for scripts. */
  nameOnly: boolean;
  /** Removes a VM instead. */
  remove: string | undefined;
  network: 'public' | 'none';
}

const bootSeconds = 300;

/** `executor test-vm`: boots a VM like those of jobs and leaves it running, or removes one that was left. */
export async function runTestVm(surroundings: CommandSurroundings, options: TestVmOptions): Promise<number> {
  const { out, err } = surroundings;
  const started = start(surroundings);
  const { settings } = started;
  await started.runtime[Symbol.asyncDispose]();
  await using runtime = openMicrovmRuntime(started);
  if (options.remove !== undefined) {
    if (await runtime.removeKept(options.remove)) return 0;
    err(`there is no VM ${JSON.stringify(options.remove)} here; those left running: ${await names()}\n`);
    return 1;
  }
  const interruption = new AbortController();
  surroundings.onSignal((name) => interruption.abort(new Error(`stopped by ${name}`)));
  const inTime = () => AbortSignal.any([interruption.signal, AbortSignal.timeout(bootSeconds * 1000)]);
  const begin = performance.now();
  const findings = await runtime.validate(inTime());
  const mistakes = findings.filter(({ severity }) => severity === 'error');
  for (const { message, fix } of mistakes) err(`${message}\n  -> ${fix}\n`);
  if (mistakes.length > 0) return 1;
  const temporary = await mkdtemp(join(tmpdir(), 'kiln-test-vm-'));
  try {
    const workspaceDirectory = await prepareWorkspace(temporary);
    const name = await runtime.keep(
      {
        id: 0,
        attempt: 0,
        workspaceDirectory,
        images: [],
        network: options.network,
        limits: {
          numCPUs: settings.jobNumCpus,
          memoryBytes: settings.jobMemoryBytes,
          diskBytes: settings.diskSpaceBytes,
        },
        registryAuth: {},
        notice: (line) => err(`${line}\n`),
      },
      inTime(),
    );
    if (options.nameOnly) {
      out(`${name}\n`);
      return 0;
    }
    const { vmm, accelerator } = runtime.isolation;
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    out(`The VM ${name} runs (${vmm}, ${accelerator}; up after ${seconds} s).

  executor attach ${name}             a shell in it; the workspace is /work
  executor test-vm --remove ${name}   removes it
`);
    return 0;
  } finally {
    await rm(temporary, { recursive: true });
  }

  async function prepareWorkspace(temporary: string): Promise<string> {
    const { workspace } = options;
    if (workspace !== undefined && 'directory' in workspace) return workspace.directory;
    const directory = join(temporary, 'workspace');
    await mkdir(directory);
    if (workspace !== undefined) {
      const path = surroundings.env['PATH'] ?? '';
      const write = options.nameOnly ? err : out;
      const places = { directory, stateDirectory: temporary, path };
      await cloneForTestVm(started, workspace, places, write, interruption.signal);
    }
    return directory;
  }

  async function names(): Promise<string> {
    return (await runtime.kept()).join(', ') || 'none';
  }
}
