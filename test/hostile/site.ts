import { execFile } from 'node:child_process';
import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JobView } from '@kiln/protocol';
import pg from 'pg';
import { askEngine } from '../../tools/docker/index.ts';
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
  startExecutor(env?: NodeJS.ProcessEnv): Promise<RunningProcess>;
  /** Submits a job through the API; resolves to its id. */
  submit(job: object): Promise<number>;
  show(id: number): Promise<JobView>;
  /** Submits a job and waits for its end. */
  run(job: object, seconds?: number): Promise<JobView>;
  /** Waits until a job is as asked. */
  when(id: number, condition: (job: JobView) => boolean, seconds?: number): Promise<JobView>;
  /** The whole log of a job's last attempt, byte for byte. */
  log(id: number): Promise<Buffer>;
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
  const startExecutor = (env: NodeJS.ProcessEnv = {}): Promise<RunningProcess> =>
    site.startExecutor({
      // One directory for all: the next executor takes over from a dead one.
      EXECUTOR_DATA_DIR: join(site.directory, 'executors'),
      TMPDIR: temporaryDirectory,
      EXECUTOR_JOB_MEMORY: '512M',
      EXECUTOR_JOB_NUM_CPUS: '1',
      EXECUTOR_CLEANUP_TASK_INTERVAL: '2s',
      ...options.env,
      ...env,
    });
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

  const made: Omit<HostileSite, keyof AsyncDisposable> = {
    site,
    docker,
    get executor() {
      return executor;
    },
    temporaryDirectory,
    async startExecutor(env) {
      executor = await startExecutor(env);
      return executor;
    },
    async submit(job) {
      const response = await api('/.api/jobs', { method: 'POST', body: JSON.stringify(job) });
      return ((await response.json()) as JobView).id;
    },
    show,
    async run(job, seconds) {
      return made.when(await made.submit(job), hasEnded, seconds);
    },
    async when(id, condition, seconds = 180) {
      const giveUpAt = performance.now() + seconds * 1000;
      for (;;) {
        const job = await show(id);
        if (condition(job)) return job;
        if (performance.now() > giveUpAt) {
          const log = (await made.log(id)).subarray(-2000).toString();
          throw executor.error(
            `did not bring about what was waited for, with ${JSON.stringify(job)}, ${log}`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async log(id) {
      const response = await api(`/.api/jobs/${id}/log`, { headers: { accept: 'text/plain' } });
      return Buffer.from(await response.arrayBuffer());
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
