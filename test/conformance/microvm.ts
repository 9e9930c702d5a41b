import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openImageStore } from '../../apps/executor/src/runtimes/microvm/images/index.ts';
import { createMicrovmRuntime, type MicrovmRuntime } from '../../apps/executor/src/runtimes/microvm/index.ts';
import { writeImageArchive } from '../../tools/docker/index.ts';
import { sharedGuest } from '../kit/guest.ts';
import { testImages } from '../kit/images.ts';
import { networkNamespace } from '../kit/network-namespace.ts';
import { startNetworkWorld } from '../kit/network-world.ts';
import type { RuntimeUnderTest, UnderTestOptions } from './runtime-under-test.ts';

const run = promisify(execFile);

export interface MicrovmUnderTest extends RuntimeUnderTest {
  open(
    options: Parameters<RuntimeUnderTest['open']>[0] & { bandwidth?: { ingress: number; egress: number } },
  ): MicrovmRuntime;
}

/**
 * The microVM runtime in a network namespace that leads to a made-up internet.
 * @param vmm what runs the VMs
 */
export async function microvmUnderTest(
  options: UnderTestOptions = {},
  vmm: 'qemu' | 'firecracker' = 'qemu',
): Promise<MicrovmUnderTest> {
  const { surroundings = startNetworkWorld, images = ['busybox'] } = options;
  const guestDirectory = await sharedGuest();
  const shared = await mkdtemp(join(tmpdir(), 'kiln-vm-images-'));
  for (const image of images) await loadImage(shared, image);
  await mkdir(join(shared, 'snapshots'), { mode: 0o700 });
  const machine = await networkNamespace();
  const namespace = machine.path;
  const world = await surroundings(namespace);
  const runtimes: MicrovmRuntime[] = [];
  const dataDirectories = new Set<string>();
  const sandboxes = new Map<string, string>();

  /** Remembers what there is: names of VMs are known from their records only while they live. */
  async function remember(): Promise<void> {
    for (const directory of dataDirectories)
      for (const file of await list(join(directory, 'microvm/records'))) {
        const text = await readFile(join(directory, 'microvm/records', file), 'utf8').catch(() => '{}');
        const { sandbox, name } = JSON.parse(text) as { sandbox?: string; name?: string };
        if (sandbox !== undefined && name !== undefined) sandboxes.set(sandbox, name);
      }
  }

  return {
    image: testImages.busybox,
    machine: namespace,
    address: namespace,
    open(options) {
      const runtime = createMicrovmRuntime({
        executorName: 'conformance-00000000',
        vmm,
        vmPrefix: 'kiln',
        maxImageBytes: 1024 ** 3,
        allowLocalImages: true,
        instanceURL: new URL('http://127.0.0.1:1'),
        minFreeDiskBytes: 0,
        networkNamespace: namespace,
        warn: (message, error) => options.warnings.push(`${message}: ${error}`),
        ...options,
      });
      dataDirectories.add(options.dataDirectory);
      runtimes.push(runtime);
      const prepared = prepareDataDirectory(options.dataDirectory, guestDirectory, shared);
      return {
        ...runtime,
        get isolation() {
          return runtime.isolation;
        },
        async create(job, signal) {
          await prepared;
          const sandbox = await runtime.create(job, signal);
          await remember();
          return sandbox;
        },
      };
    },
    async asRoot(argv) {
      return (await Promise.all(runtimes.map((runtime) => runtime.inEach(argv)))).flat();
    },
    async leftovers() {
      await remember();
      const found: string[] = [];
      for (const directory of dataDirectories)
        for (const kind of ['records', 'vms', 'kept-workspaces'])
          for (const entry of await list(join(directory, 'microvm', kind)))
            found.push(`${sandboxes.get(entry.slice(0, 12)) ?? entry} ${kind}`);
      const { stdout: rules } = await run('nsenter', [`--net=${namespace}`, 'nft', 'list', 'ruleset']);
      const { stdout: links } = await run('nsenter', [`--net=${namespace}`, 'ip', '-o', 'link']);
      for (const [sandbox, name] of sandboxes) {
        if (rules.includes(sandbox)) found.push(`${name} firewall rules`);
        if (links.includes(sandbox)) found.push(`${name} link`);
        for (const controller of ['cpu', 'memory', 'pids', '.'])
          if (await exists(`/sys/fs/cgroup/${controller}/kiln-vm-${sandbox}`))
            found.push(`${name} ${controller} group`);
        if ((await hostProcesses(sandbox, dataDirectories)).length > 0) found.push(`${name} process`);
      }
      return found;
    },
    async processesWith(marker) {
      const looks = runtimes.map((runtime) =>
        runtime.inEach(['/bin/sh', '-c', listProcesses]).catch(() => []),
      );
      const commands = (await Promise.all(looks)).flat(2).flatMap((text) => text.split('\n'));
      return commands.filter((command) => command.includes(marker));
    },
    processesOf: (job, attempt) => hostProcesses(`kiln-${job}-${attempt}-`, dataDirectories),
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      await machine[Symbol.asyncDispose]();
      await rm(shared, { recursive: true, force: true });
    },
  };
}

/** One process a line; the zero bytes between arguments stay. */
const listProcesses = 'for f in /proc/[0-9]*/cmdline; do cat "$f" 2>/dev/null && echo; done; true';

async function loadImage(directory: string, image: keyof typeof testImages): Promise<void> {
  const archive = join(directory, `${image}.tar`);
  await writeImageArchive(image, archive);
  const store = openImageStore({
    directory: join(directory, 'images'),
    allowLocalImages: true,
    registryMirrorURLs: [],
    maxBytes: 1024 ** 3,
  });
  await store.load({ path: archive }, AbortSignal.timeout(120_000));
  await rm(archive);
}

/** Guest, images and snapshots of all tests in the data directory of one. */
async function prepareDataDirectory(path: string, guest: string, images: string): Promise<void> {
  await mkdir(path, { recursive: true });
  for (const [source, name] of [
    [join(guest, 'guest'), 'guest'],
    [join(images, 'images'), 'images'],
    [join(images, 'snapshots'), 'snapshots'],
  ] as const)
    if (!(await exists(join(path, name)))) await symlink(source, join(path, name)).catch(ignoreExisting);
}

function ignoreExisting(error: unknown): void {
  if (Reflect.get(Object(error), 'code') !== 'EEXIST') throw error;
}

/** VMMs whose VMs are in one of the directories: other tests have jobs of the same numbers. */
async function hostProcesses(marker: string, directories: Iterable<string>): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await list('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const commandLine = await readFile(join('/proc', pid, 'cmdline'), 'latin1').catch(() => '');
    if (!/^(?:qemu|unshare)/.test(commandLine) || !commandLine.includes(marker)) continue;
    const where = await readlink(join('/proc', pid, 'cwd')).catch(() => '');
    if ([...directories].some((directory) => where.startsWith(`${directory}/`))) found.push(pid);
  }
  return found;
}

async function list(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
