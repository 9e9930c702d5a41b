import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { installGuest } from '../../apps/executor/src/runtimes/microvm/guest/index.ts';
import { openImageStore } from '../../apps/executor/src/runtimes/microvm/images/index.ts';
import { demoImages, ensureDockerd, ensureImages, writeImageArchive } from '../docker/index.ts';
import { type NeedName, onPath } from '../setup/needs.ts';

/** How the demo's steps are isolated. */
export type DemoIsolation = 'microvm' | 'docker';

/** What steps run in, on this machine. */
export interface DemoSandboxes extends AsyncDisposable {
  /** Settings of the executor. */
  env: NodeJS.ProcessEnv;
  /** Process number of a Docker daemon that was started for it. */
  dockerPid?: number | undefined;
  /** Resolves when images, and the guest of VMs, are there. */
  ready: Promise<void>;
}

export interface SandboxesStart {
  directory: string;
  /** `EXECUTOR_DATA_DIR` */
  executorDirectory: string;
  say(line: string): void;
  signal: AbortSignal;
  outlives: boolean;
}

export const isolationNeeds: Readonly<Record<DemoIsolation, readonly NeedName[]>> = {
  microvm: ['git', 'nftables', 'conntrack', 'busybox', 'qemu', 'iproute', 'ext4', 'squashfs'],
  docker: ['git', 'docker', 'nftables', 'conntrack', 'busybox'],
};

/** Why this machine can have no microVM; undefined: it can. */
export async function whyNoMicrovm(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `microVMs need Linux on x86-64, and this is ${process.platform} on ${process.arch}`;
  if (process.getuid?.() !== 0) return 'microVMs need root';
  if ((await onPath('apt-get', process.env)) === undefined)
    return 'the guest of microVMs is built from Debian packages, and this machine has no apt';
  return undefined;
}

export async function startSandboxes(
  isolation: DemoIsolation,
  options: SandboxesStart,
): Promise<DemoSandboxes> {
  return isolation === 'docker' ? startDocker(options) : prepareMicrovms(options);
}

async function startDocker({ directory, say, outlives }: SandboxesStart): Promise<DemoSandboxes> {
  const docker = await ensureDockerd({
    stateDirectory: path.join(directory, 'docker'),
    log: say,
    dockerHost: process.env['DOCKER_HOST'],
    outlives,
  });
  return {
    env: { EXECUTOR_USE_FIRECRACKER: 'false', DOCKER_HOST: `unix://${docker.socketPath}` },
    dockerPid: docker.pid,
    ready: ensureImages(docker.socketPath, say),
    [Symbol.asyncDispose]: () => docker[Symbol.asyncDispose](),
  };
}

/** VMs are small here: a machine for trying things out has little memory, and three short steps need none. */
const microvmEnv = {
  EXECUTOR_USE_FIRECRACKER: 'true',
  EXECUTOR_JOB_MEMORY: '1G',
  EXECUTOR_FIRECRACKER_DISK_SPACE: '2G',
};

function prepareMicrovms(options: SandboxesStart): DemoSandboxes {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const ready = Promise.all([makeGuest(options, signal), makeImages(options, signal)]).then(() => undefined);
  return {
    env: microvmEnv,
    ready,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ready.catch(() => undefined);
    },
  };
}

async function makeGuest({ executorDirectory, say }: SandboxesStart, signal: AbortSignal): Promise<void> {
  await installGuest({
    dataDirectory: executorDirectory,
    what: 'missing',
    progress: (line) => say(`guest of the VMs: ${line}`),
    signal,
  });
}

async function makeImages(
  { directory, executorDirectory, say }: SandboxesStart,
  signal: AbortSignal,
): Promise<void> {
  const store = openImageStore({
    directory: path.join(executorDirectory, 'images'),
    allowLocalImages: true,
    registryMirrorURLs: [],
    maxBytes: Number.POSITIVE_INFINITY,
  });
  const there = new Set((await store.list()).flatMap(({ names }) => names));
  const temporary = await mkdtemp(path.join(directory, 'images-'));
  try {
    for (const kind of ['busybox', 'git'] as const) {
      const name = demoImages[kind];
      if (there.has(name)) continue;
      say(`building image ${name}`);
      const archive = path.join(temporary, `${kind}.tar`);
      await writeImageArchive(kind, archive);
      await store.load({ path: archive }, signal);
    }
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
