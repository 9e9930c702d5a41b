import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { installedGuest } from '../apps/executor/src/runtimes/microvm/guest/index.ts';
import { openImageStore } from '../apps/executor/src/runtimes/microvm/images/index.ts';
import { createMicrovmRuntime, type MicrovmRuntime } from '../apps/executor/src/runtimes/microvm/index.ts';
import type { Sandbox } from '../apps/executor/src/runtimes/runtime.ts';
import { busyboxImage } from '../test/kit/busybox-image.ts';
import { startDockerRegistry } from '../test/kit/docker-registry.ts';
import { sharedGuest } from '../test/kit/guest.ts';
import type { BenchResult } from './bench.ts';
import { prepareBareBoot, qemuVersion } from './site/bare-boot.ts';
import { executorMemory } from './site/executor-memory.ts';
import { quantile } from './site/quantiles.ts';

export const about =
  'microVMs: from nothing to the first output of a step, by booting and from a snapshot, beside a bare boot of the same kernel; further steps; images';

const memoryBytes = 256 * 2 ** 20;
const manyVms = 8;
const vmsAtOnce = 4;
/** Far more than a step takes, whatever else the machine does. */
const stepSeconds = 300;

export async function run(args: string[], signal: AbortSignal): Promise<BenchResult> {
  const { values } = parseArgs({ args, options: { runs: { type: 'string', default: '20' } } });
  const runs = Number(values.runs);
  await using cleanup = new AsyncDisposableStack();
  const dataDirectory = await mkdtemp(path.join(tmpdir(), 'kiln-bench-sandbox-'));
  cleanup.defer(() => rm(dataDirectory, { recursive: true, force: true }));
  const guestDirectory = await sharedGuest();
  const guest = await installedGuest(guestDirectory);
  if (guest === undefined) throw new Error('there is no guest, although it was just built');
  await symlink(path.join(guestDirectory, 'guest'), path.join(dataDirectory, 'guest'));

  const registry = cleanup.use(await startDockerRegistry());
  await registry.push('bench', '1', await busyboxImage());
  const openRuntime = (snapshots: boolean): MicrovmRuntime =>
    cleanup.use(
      createMicrovmRuntime({
        executorName: 'bench-00000000',
        vmPrefix: 'bench',
        dataDirectory,
        snapshots,
        maxImageBytes: 2 ** 30,
        instanceURL: new URL('http://127.0.0.1:1'),
        minFreeDiskBytes: 0,
        warn: (message, error) => console.error(message, error),
      }),
    );
  const booting: Site = {
    dataDirectory,
    image: `${registry.host}/bench:1`,
    auth: { auths: { [registry.host]: { auth: Buffer.from('user:password').toString('base64') } } },
    runtime: openRuntime(false),
    signal,
  };
  const site: Site = { ...booting, runtime: openRuntime(true) };

  const movedBytes = await secondJobBytes(site, () => registry.blobBytes);

  // The accelerator is known once a VM has run, and the snapshot is made by the first.
  await using first = await startVm(site);
  const firstPulls = registry.blobBytes;
  const steps: number[] = [];
  for (let turn = -1; turn < runs; turn++) {
    const begun = performance.now();
    await stepOutput(first, 'true', signal);
    if (turn >= 0) steps.push(performance.now() - begun);
  }
  await first[Symbol.asyncDispose]();
  const { isolation } = site.runtime;
  const accelerator = JSON.stringify(isolation).includes('kvm') ? 'kvm' : 'tcg';

  await using bare = await prepareBareBoot({
    kernelPath: guest.kernelPath,
    accelerator,
    memoryMebibytes: 512,
  });
  const cold: number[] = [];
  const warm: number[] = [];
  const bareBoots: number[] = [];
  // In turns, so that what else the machine does falls on both alike.
  for (let turn = 0; turn < runs; turn++) {
    console.error(`boot ${turn + 1} of ${runs}`);
    bareBoots.push(await bare.time(signal));
    cold.push(await firstOutputMs(booting));
    warm.push(await firstOutputMs(site));
  }

  const begun = performance.now();
  const together = await Promise.all(Array.from({ length: vmsAtOnce }, () => startVm(site)));
  const outputs = await Promise.all(together.map((vm) => stepOutput(vm, 'echo x', signal)));
  const togetherMs = performance.now() - begun;
  await Promise.all(together.map((vm) => vm[Symbol.asyncDispose]()));
  const memory = await executorMemory({
    vms: manyVms,
    dataDirectory,
    image: site.image,
    dockerAuthConfig: JSON.stringify(site.auth),
    signal,
  });

  const spread = (all: readonly number[]): string =>
    [0, 0.5, 0.9, 1].map((at) => (quantile(all, at) / 1000).toFixed(2)).join(' ');
  const [bareMs, coldMs, warmMs] = [bareBoots, cold, warm].map((all) => quantile(all, 0.5)) as [
    number,
    number,
    number,
  ];
  return {
    settings: {
      runs,
      vmm: qemuVersion(),
      accelerator,
      isolation: JSON.stringify(isolation),
      'bare boot to init: min, median, p90, max, s': spread(bareBoots),
      'nothing to first output by booting: min, median, p90, max, s': spread(cold),
      'nothing to first output from a snapshot: min, median, p90, max, s': spread(warm),
      'further step: min, median, p90, max, s': spread(steps),
    },
    measures: [
      { name: 'bare boot of the kernel to its init, median', value: bareMs / 1000, unit: 's' },
      {
        name: 'nothing to the first output of a step by booting, median',
        value: coldMs / 1000,
        unit: 's',
      },
      {
        name: 'that over the bare boot',
        value: coldMs / bareMs,
        unit: 'x',
        must: { atMost: 2.2 },
        aim: { atMost: 1.5 },
      },
      {
        name: 'nothing to the first output of a step from a snapshot, median',
        value: warmMs / 1000,
        unit: 's',
      },
      {
        name: 'that over the bare boot, from a snapshot',
        value: warmMs / bareMs,
        unit: 'x',
        must: { atMost: 0.6 },
        aim: { atMost: 0.3 },
      },
      {
        name: 'each further step, median',
        value: quantile(steps, 0.5) / 1000,
        unit: 's',
        must: { atMost: 0.6 },
      },
      {
        name: 'bytes of the image that the second job moves, and all VMs after it',
        value: movedBytes + registry.blobBytes - firstPulls,
        unit: 'B',
        must: { atMost: 0 },
      },
      {
        name: `${vmsAtOnce} VMs at once: first outputs`,
        value: outputs.filter(({ output }) => output === 'x\n').length,
        unit: 'VMs',
        must: { atLeast: vmsAtOnce },
      },
      {
        name: `${vmsAtOnce} VMs at once: nothing to the last first output`,
        value: togetherMs / 1000,
        unit: 's',
      },
      {
        name: `resident memory of an executor process with ${manyVms} VMs, each running a step`,
        value: memory / 1e6,
        unit: 'MB',
        must: { atMost: 150 },
      },
    ],
    notes: [
      'Times begin before the workspace is made into a drive and end when the bytes of the first step are here.',
    ],
  };
}

interface Site {
  dataDirectory: string;
  image: string;
  auth: { auths: Record<string, { auth: string }> };
  runtime: MicrovmRuntime;
  signal: AbortSignal;
}

/** Another executor process would have a store of its own over the same directory. */
async function secondJobBytes(site: Site, counted: () => number): Promise<number> {
  const resolve = async (): Promise<void> => {
    const store = openImageStore({
      directory: path.join(site.dataDirectory, 'images'),
      allowLocalImages: false,
      registryMirrorURLs: [],
      maxBytes: 2 ** 30,
    });
    await (await store.resolve(site.image, site.auth, () => undefined, site.signal))[Symbol.asyncDispose]();
  };
  await resolve();
  const before = counted();
  await resolve();
  return counted() - before;
}

let jobs = 0;

async function startVm({
  dataDirectory,
  image,
  auth,
  runtime,
  signal,
}: Site): Promise<Sandbox & { image: string }> {
  jobs += 1;
  const workspaceDirectory = path.join(dataDirectory, `workspace-${jobs}`);
  await mkdir(workspaceDirectory);
  await chmod(workspaceDirectory, 0o777);
  await writeFile(path.join(workspaceDirectory, 'step.sh'), 'eval "$SCRIPT"\n');
  const sandbox = await runtime.create(
    {
      id: jobs,
      attempt: 1,
      workspaceDirectory,
      images: [image],
      network: 'none',
      limits: { numCPUs: 1, memoryBytes, diskBytes: 2 ** 30 },
      registryAuth: auth,
      notice: () => undefined,
    },
    signal,
  );
  return Object.assign(sandbox, { image });
}

/** Of a VM that is gone again afterwards: milliseconds from nothing to the first output of a step. */
async function firstOutputMs(site: Site): Promise<number> {
  const begun = performance.now();
  await using vm = await startVm(site);
  return (await stepOutput(vm, 'echo x', site.signal)).firstAt - begun;
}

/** Runs a step to its end. @returns what it wrote, and when the first of it was here */
async function stepOutput(
  vm: Sandbox & { image: string },
  script: string,
  signal: AbortSignal,
): Promise<{ output: string; firstAt: number }> {
  let output = '';
  let firstAt = Number.NaN;
  const { exitCode } = await vm.run(
    { name: '0', image: vm.image, scriptPath: 'step.sh', dir: '', env: [`SCRIPT=${script}`] },
    {
      async write(_, bytes) {
        if (output === '') firstAt = performance.now();
        output += Buffer.from(bytes).toString();
      },
    },
    AbortSignal.any([signal, AbortSignal.timeout(stepSeconds * 1000)]),
  );
  if (exitCode !== 0) throw new Error(`the step ended with exit code ${exitCode}: ${output}`);
  return { output, firstAt };
}
