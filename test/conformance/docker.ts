import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDockerRuntime } from '../../apps/executor/src/runtimes/docker/index.ts';
import { askEngine } from '../../tools/docker/index.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { testImages } from '../kit/images.ts';
import { inNamespace } from '../kit/network-namespace.ts';
import { startNetworkWorld } from '../kit/network-world.ts';
import type { RuntimeUnderTest, UnderTestOptions } from './runtime-under-test.ts';

const run = promisify(execFile);

/** The Docker runtime on a private daemon whose network leads to a made-up internet. */
export async function dockerUnderTest(options: UnderTestOptions = {}): Promise<RuntimeUnderTest> {
  const { surroundings = startNetworkWorld, images } = options;
  const daemon = await startTestDockerd(images);
  const namespace = daemon.networkNamespace ?? '';
  const world = await surroundings(namespace).catch(async (error: unknown) => {
    await daemon.stop();
    throw error;
  });
  return {
    image: testImages.busybox,
    machine: namespace,
    address: `unix://${daemon.socketPath}`,
    open(options) {
      return createDockerRuntime({
        executorName: 'conformance-00000000',
        dockerHost: `unix://${daemon.socketPath}`,
        allowLocalImages: true,
        instanceURL: new URL('http://127.0.0.1:1'),
        minFreeDiskBytes: 0,
        warn: (message, error) => options.warnings.push(`${message}: ${error}`),
        ...options,
      });
    },
    async asRoot(argv) {
      const containers = await listContainers(daemon.socketPath);
      return Promise.all(containers.map(({ pid }) => inNamespace(`/proc/${pid}/ns/net`, argv)));
    },
    async leftovers() {
      const list = async (path: string): Promise<unknown> =>
        JSON.parse((await askEngine(daemon.socketPath, { method: 'GET', path })).text);
      const containers = (await list('/containers/json?all=1')) as { Names: string[] }[];
      const networks = (await list('/networks')) as { Name: string }[];
      const volumes = (await list('/volumes')) as { Volumes: { Name: string }[] | null };
      const { stdout: rules } = await run('nsenter', [`--net=${namespace}`, 'nft', 'list', 'ruleset']);
      const { stdout: links } = await run('nsenter', [`--net=${namespace}`, 'ip', '-o', 'link']);
      const sandboxes = await sandboxesSeen(daemon.socketPath);
      return [
        ...containers.flatMap((container) => container.Names),
        ...networks.map((network) => network.Name).filter((name) => name !== 'host' && name !== 'none'),
        ...(volumes.Volumes ?? []).map((volume) => volume.Name),
        ...rules.split('\n').filter((line) => /kiln_|\bkb[0-9a-f]{12}\b/.test(line)),
        ...links.split('\n').filter((line) => /\bkb[0-9a-f]{12}\b/.test(line)),
        // Other daemons' containers have control groups beside ours.
        ...(await readdir('/sys/fs/cgroup/memory')).filter((name) =>
          sandboxes.has(name.replace('kiln-', '')),
        ),
      ];
    },
    processesWith: (marker) => processesWith(marker),
    // Containers' processes do not tell whose they are; the crash test's step is the only one that sleeps so long.
    processesOf: () => processesWith('sleep\u0000600.9375'),
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      await daemon.stop();
    },
  };
}

/** Processes that running containers began with. */
async function listContainers(socketPath: string): Promise<{ pid: number }[]> {
  const ask = async (path: string): Promise<unknown> =>
    JSON.parse((await askEngine(socketPath, { method: 'GET', path })).text);
  const running = (await ask('/containers/json')) as { Id: string }[];
  const states = running.map(
    async ({ Id }) => (await ask(`/containers/${Id}/json`)) as { State: { Pid: number } },
  );
  return (await Promise.all(states)).map(({ State }) => ({ pid: State.Pid }));
}

/** Sandboxes whose containers the daemon remembers having made. */
async function sandboxesSeen(socketPath: string): Promise<Set<string>> {
  const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['create'] }));
  const until = (Date.now() / 1000).toFixed(3);
  const { text } = await askEngine(socketPath, {
    method: 'GET',
    path: `/events?since=0&until=${until}&filters=${filters}`,
  });
  return new Set([...text.matchAll(/"kiln\.sandbox":"([0-9a-f]+)"/g)].map((match) => match[1] ?? ''));
}

/** Processes of this machine, containers' included, whose command line holds a text. */
async function processesWith(marker: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const commandLine = await readFile(join('/proc', pid, 'cmdline'), 'latin1').catch(() => '');
    if (commandLine.includes(marker)) found.push(`${pid} ${commandLine.replaceAll('\0', ' ')}`);
  }
  return found;
}
