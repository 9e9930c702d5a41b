import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Runtime, Sandbox, SandboxJob, StepResult } from '../../apps/executor/src/runtimes/runtime.ts';
import type { testImages } from '../kit/images.ts';

/** A runtime as the conformance suite sees it. Networks lead to the world of `kit/network-world.ts`. */
export interface RuntimeUnderTest extends AsyncDisposable {
  /** An image with busybox. */
  image: string;
  /** Path of the network namespace that jobs' networks are in. */
  machine: string;
  /** What another process needs to use the same daemon; empty where there is none. */
  address: string;
  open(options: {
    dataDirectory: string;
    warnings: string[];
    allowedCIDRs?: readonly string[];
    minFreeDiskBytes?: number;
    maxProcesses?: number;
    instanceURL?: URL;
    nameServers?: readonly string[];
  }): Runtime & AsyncDisposable;
  /** Runs a program as root of each sandbox's network, with every right there. @returns what each printed */
  asRoot(argv: readonly string[]): Promise<string[]>;
  /** Names of everything that sandboxes have left on the machine; the name of what belongs to one holds `<job>-<attempt>`. */
  leftovers(): Promise<string[]>;
  /** Running processes of steps of this process's sandboxes whose command line holds a text. */
  processesWith(marker: string): Promise<string[]>;
  /** Processes on this machine of sandboxes of one job's attempt, whoever has them. */
  processesOf(job: number, attempt: number): Promise<string[]>;
}

export interface UnderTestOptions {
  /** Beside the network namespace of jobs' networks; default: the world of `kit/network-world.ts`. */
  surroundings?: (machine: string) => Promise<AsyncDisposable>;
  /** Images that steps may have; default: busybox. */
  images?: readonly (keyof typeof testImages)[];
}

/** A directory for one test's workspaces and records. */
export async function testDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'kiln-conformance-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface JobUnderTest extends AsyncDisposable {
  sandbox: Sandbox;
  notices: string[];
  /** A file of the workspace as the steps left it. */
  read(path: string, maxBytes?: number): Promise<string | undefined>;
  /** Runs a shell script as the next step. */
  run(script: string, options?: RunOptions): Promise<Outcome>;
}

export interface RunOptions {
  dir?: string;
  env?: string[];
  signal?: AbortSignal;
  image?: string;
  /** Instead of keeping the output. */
  write?: (stream: 'stdout' | 'stderr', bytes: Uint8Array) => Promise<void>;
}

export interface Outcome extends StepResult {
  stdout: string;
  stderr: string;
}

let jobs = 0;
const scriptPath = 'step.sh';

export async function startJob(
  runtime: Runtime,
  under: RuntimeUnderTest,
  directory: string,
  options: {
    network?: SandboxJob['network'];
    limits?: Partial<SandboxJob['limits']>;
    /** What the workspace holds beside the script. */
    prepare?: (workspace: string) => Promise<void>;
  } = {},
): Promise<JobUnderTest> {
  jobs += 1;
  const id = jobs;
  const workspace = join(directory, `workspace-${id}`);
  await mkdir(workspace, { recursive: true });
  await chmod(workspace, 0o777);
  // Every step's text comes in its environment: some runtimes take the workspace over when the job begins.
  await writeFile(join(workspace, scriptPath), `eval "$KILN_TEST"\n`);
  await options.prepare?.(workspace);
  const notices: string[] = [];
  const sandbox = await runtime.create(
    {
      id,
      attempt: 1,
      workspaceDirectory: workspace,
      images: [under.image],
      network: options.network ?? 'none',
      limits: {
        numCPUs: 1,
        memoryBytes: 256 * 1024 * 1024,
        diskBytes: 10 * 1024 ** 3,
        ...options.limits,
      },
      registryAuth: {},
      notice: (line) => notices.push(line),
    },
    AbortSignal.timeout(150_000),
  );
  let steps = 0;
  return {
    sandbox,
    notices,
    async read(path, maxBytes = 64 * 1024) {
      const bytes = await sandbox.readFile(path, maxBytes);
      return bytes && Buffer.from(bytes).toString('utf8');
    },
    async run(script, run = {}) {
      const name = String(steps);
      steps += 1;
      const output = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
      const result = await sandbox.run(
        {
          name,
          image: run.image ?? under.image,
          scriptPath,
          dir: run.dir ?? '',
          env: [...(run.env ?? []), `KILN_TEST=${script}`],
        },
        {
          write:
            run.write ??
            (async (stream, bytes) => {
              output[stream].push(Buffer.from(bytes));
            }),
        },
        run.signal ?? new AbortController().signal,
      );
      return {
        ...result,
        stdout: Buffer.concat(output.stdout).toString('utf8'),
        stderr: Buffer.concat(output.stderr).toString('utf8'),
      };
    },
    [Symbol.asyncDispose]: () => sandbox[Symbol.asyncDispose](),
  };
}
