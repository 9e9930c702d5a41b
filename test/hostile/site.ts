import { execFile } from 'node:child_process';
import { readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JobView } from '@kiln/protocol';
import pg from 'pg';
import { expect } from 'vitest';
import { askEngine } from '../../tools/docker/index.ts';
import { sharedSecret } from '../../tools/process/programs.ts';
import type { RunningProcess } from '../../tools/process/running-process.ts';
import { startTestDockerd } from '../kit/dockerd.ts';
import { startTestSite, type TestSite } from '../kit/processes.ts';

const run = promisify(execFile);

export interface TestDocker {
  socketPath: string;
  networkNamespace: string | undefined;
}

/** A site with a Docker daemon and an executor of its own, and what hostile tests ask of them. */
export interface HostileSite extends AsyncDisposable {
  readonly site: TestSite;
  readonly docker: TestDocker;
  /** The executor that was started last. */
  readonly executor: RunningProcess;
  /** `TMPDIR` of the executors. */
  readonly temporaryDirectory: string;
  startExecutor: TestSite['startExecutor'];
  /** Submits a job through the API; resolves to its id. */
  submit(job: object): Promise<number>;
  show(id: number): Promise<JobView>;
  /** Submits a job, waits for its end and expects it to look as given. */
  run(job: object, expected: object, seconds?: number): Promise<JobView>;
  /** Waits until a job is as asked. */
  when(id: number, condition: (job: JobView) => boolean, seconds?: number): Promise<JobView>;
  /** Expects a job to look as given; what executors logged about it is in the error of a failure. */
  expectJob(job: JobView, expected: object): Promise<void>;
  /** The whole log of a job's last attempt, byte for byte. */
  log(id: number): Promise<Buffer>;
  /** Ends all steps that wait at the {@link gate}. */
  openGates(): Promise<void>;
  /** All that executors may leave behind, by name. */
  leftovers(): Promise<string[]>;
}

export interface HostileSiteOptions {
  /** Of every executor. */
  env?: NodeJS.ProcessEnv;
  instanceEnv?: NodeJS.ProcessEnv;
  /** A daemon that the caller stops; by default one that ends with the site. */
  docker?: TestDocker;
}

const shownLines = 40;

const gateFile = 'kiln-test-gate';
/** What a step waits with until the test lets it end: whatever the machine's speed, the test decides what comes first. */
export const gate = `while [ ! -e /data/${gateFile} ]; do sleep 0.2; done`;

/** Starts daemon, instance and executor as processes. Nothing of them is left when it is disposed. */
export async function startHostileSite(options: HostileSiteOptions = {}): Promise<HostileSite> {
  await using started = new AsyncDisposableStack();
  const docker = options.docker ?? started.use(await startTestDockerd());
  const site = started.use(
    await startTestSite({
      dockerSocket: docker.socketPath,
      ...(options.instanceEnv === undefined ? {} : { env: options.instanceEnv }),
    }),
  );
  const temporaryDirectory = join(site.directory, 'tmp');
  const secret = await sharedSecret(site.instance);
  const startExecutor: TestSite['startExecutor'] = (env, executorOptions) =>
    site.startExecutor(
      {
        EXECUTOR_FRONTEND_PASSWORD: secret,
        // One directory for all: the next executor takes over from a dead one.
        EXECUTOR_DATA_DIR: join(site.directory, 'executors'),
        TMPDIR: temporaryDirectory,
        EXECUTOR_JOB_MEMORY: '512M',
        EXECUTOR_JOB_NUM_CPUS: '1',
        EXECUTOR_CLEANUP_TASK_INTERVAL: '2s',
        SRC_LOG_LEVEL: 'dbug',
        ...options.env,
        ...env,
      },
      executorOptions,
    );
  let executor = await startExecutor();

  async function api(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(`${site.instance.url}${path}`, {
      signal: AbortSignal.timeout(60_000),
      ...init,
      headers: {
        authorization: `token ${site.instance.adminToken}`,
        ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...init.headers,
      },
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  }

  async function show(id: number): Promise<JobView> {
    return (await (await api(`/.api/jobs/${id}`)).json()) as JobView;
  }

  /** For the message of a failure: the end of a job's log, and what executors said about the job or in alarm. */
  async function circumstances(id: number): Promise<string> {
    const names = (await readdir(site.directory)).filter((name) => /^executor-\d+\.log$/.test(name)).sort();
    const texts = await Promise.all(
      names.map(async (name) =>
        (await readFile(join(site.directory, name), 'utf8'))
          .split('\n')
          .filter((line) => new RegExp(`\\bjob=${id}\\b|\\blvl=(warn|error|crit)`).test(line))
          .slice(-shownLines)
          .map((line) => `${name}: ${line}`),
      ),
    );
    const log = await made.log(id).then(
      (bytes) => bytes.subarray(-2000).toString(),
      (error: unknown) => String(error),
    );
    return [...texts.flat(), 'the log of the job ends with:', log].join('\n');
  }

  const made: Omit<HostileSite, keyof AsyncDisposable> = {
    site,
    docker,
    get executor() {
      return executor;
    },
    temporaryDirectory,
    async startExecutor(env, executorOptions) {
      executor = await startExecutor(env, executorOptions);
      return executor;
    },
    async submit(job) {
      const response = await api('/.api/jobs', { method: 'POST', body: JSON.stringify(job) });
      return ((await response.json()) as JobView).id;
    },
    show,
    async run(job, expected, seconds) {
      const ended = await made.when(await made.submit(job), hasEnded, seconds);
      await made.expectJob(ended, expected);
      return ended;
    },
    async when(id, condition, seconds = 180) {
      const giveUpAt = performance.now() + seconds * 1000;
      for (;;) {
        const job = await show(id);
        if (condition(job)) return job;
        if (performance.now() > giveUpAt)
          throw new Error(
            `after ${seconds} s job ${id} is not what was waited for, but ${JSON.stringify(job)}\n${await circumstances(id)}`,
          );
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async expectJob(job, expected) {
      try {
        expect(job).toMatchObject(expected);
      } catch (error) {
        if (error instanceof Error)
          error.message += `\njob ${job.id}: ${job.failureMessage ?? 'no failure message'}\n${await circumstances(job.id)}`;
        throw error;
      }
    },
    async log(id) {
      const response = await api(`/.api/jobs/${id}/log`, { headers: { accept: 'text/plain' } });
      return Buffer.from(await response.arrayBuffer());
    },
    async openGates() {
      const root = join(temporaryDirectory, 'kiln-executor-0');
      for (const workspace of await readdir(root)) await writeFile(join(root, workspace, gateFile), '');
    },
    async leftovers() {
      const folders = ['tmp/kiln-executor-0', 'executors/executors', 'executors/docker'];
      const files = await Promise.all(folders.map((folder) => below(join(site.directory, folder))));
      return [...files.flat().filter((path) => !isOwn(path)), ...(await dockerLeftovers(docker))];
    },
  };
  const owned = started.move();
  // Not by spreading: `executor` is looked up anew each time.
  return Object.assign(made, { [Symbol.asyncDispose]: () => owned.disposeAsync() });
}

export function hasEnded({ state }: JobView): boolean {
  return ['completed', 'failed', 'canceled'].includes(state);
}

/** Containers, networks and firewall tables of jobs. */
export async function dockerLeftovers(docker: TestDocker): Promise<string[]> {
  const list = async (path: string): Promise<unknown> =>
    JSON.parse((await askEngine(docker.socketPath, { method: 'GET', path })).text);
  const containers = (await list('/containers/json?all=1')) as { Names: string[] }[];
  const networks = (await list('/networks')) as { Name: string }[];
  const { stdout } = await run('nsenter', [`--net=${docker.networkNamespace}`, 'nft', 'list', 'tables']);
  return [
    ...containers.flatMap((container) => container.Names),
    ...networks.map((network) => network.Name).filter((name) => name !== 'host' && name !== 'none'),
    ...stdout.split('\n').filter((line) => line.includes('kiln')),
  ];
}

/** All text of an instance's database, one line per row, each with its table's name. */
export async function databaseText(instanceDirectory: string): Promise<string> {
  const client = new pg.Client({
    host: await realpath(join(instanceDirectory, 'postgres/socket')),
    port: 5432,
    user: 'kiln',
    database: 'kiln',
  });
  await client.connect();
  try {
    const tables = await client.query<{ name: string }>(
      `select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables
       where schemaname not in ('pg_catalog', 'information_schema')`,
    );
    let text = '';
    for (const { name } of tables.rows) {
      const { rows } = await client.query<{ line: string }>(
        `select row_to_json(t)::text as line from ${name} t`,
      );
      text += rows.map(({ line }) => `${name} ${line}\n`).join('');
    }
    return text;
  } finally {
    await client.end();
  }
}

/** Paths of what is below a directory and is no directory. */
async function below(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}

/** What a running executor keeps. */
function isOwn(path: string): boolean {
  return path.endsWith('/owner.json');
}

/** Command lines and environments of all processes of this machine, by process number. */
export async function processTexts(): Promise<Map<number, { commandLine: Buffer; environment: Buffer }>> {
  const found = new Map<number, { commandLine: Buffer; environment: Buffer }>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const read = (file: string) => readFile(join('/proc', name, file)).catch(() => Buffer.alloc(0));
    found.set(Number(name), { commandLine: await read('cmdline'), environment: await read('environ') });
  }
  return found;
}
