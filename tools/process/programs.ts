import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { RunningProcess } from './running-process.ts';

export const checkout = path.join(import.meta.dirname, '..', '..');

/** The first start makes a database, perhaps while the machine is busy with others. */
const startSeconds = 120;

/** An instance that runs as a process of its own: `bin/kiln serve`. */
export interface InstanceProcess extends AsyncDisposable {
  process: RunningProcess;
  url: string;
  dataDirectory: string;
  /** Access token of the first site admin. */
  adminToken: string;
}

export interface InstanceStart {
  dataDirectory: string;
  /** Default: a free port of 127.0.0.1. */
  listen?: string;
  logFile: string;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  outlives?: boolean;
}

/** Starts `bin/kiln serve` and waits until it says that it is listening. */
export async function startInstanceProcess(options: InstanceStart): Promise<InstanceProcess> {
  const instance = new RunningProcess({
    name: 'the instance',
    program: path.join(checkout, 'bin/kiln'),
    args: ['serve', '--data', options.dataDirectory, '--listen', options.listen ?? '127.0.0.1:0'],
    cwd: path.dirname(options.logFile),
    env: programEnvironment(options.env),
    logFile: options.logFile,
    outlives: options.outlives ?? false,
  });
  try {
    const ready = await instance.waitForLine(/^kiln is listening on (\S+)/, startSeconds, options.signal);
    const adminToken = await readFile(path.join(options.dataDirectory, 'admin-token'), 'utf8');
    return {
      process: instance,
      url: ready[1] ?? '',
      dataDirectory: options.dataDirectory,
      adminToken: adminToken.trim(),
      async [Symbol.asyncDispose]() {
        await instance.stop();
      },
    };
  } catch (error) {
    await instance.stop();
    throw error;
  }
}

export interface ExecutorStart {
  instance: Pick<InstanceProcess, 'url' | 'adminToken'>;
  dataDirectory: string;
  /** Socket of the Docker daemon, as a path, to run steps in containers; else `env` says how they are run. */
  dockerSocket?: string;
  logFile: string;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  /** How long it may take to reach the instance. */
  readySeconds?: number;
  /** The line that is waited for, instead of the one that tells that it has reached the instance. */
  readyLine?: RegExp;
  outlives?: boolean;
}

/** Starts `bin/executor run` on the Docker runtime, for the queue `jobs`, and waits until it is ready. */
export async function startExecutorProcess(options: ExecutorStart): Promise<RunningProcess> {
  const executor = new RunningProcess({
    name: 'the executor',
    program: path.join(checkout, 'bin/executor'),
    args: ['run'],
    cwd: path.dirname(options.logFile),
    env: programEnvironment({
      EXECUTOR_FRONTEND_URL: options.instance.url,
      // Not asked for when it is given: the instance may be away.
      EXECUTOR_FRONTEND_PASSWORD:
        options.env?.['EXECUTOR_FRONTEND_PASSWORD'] ?? (await sharedSecret(options.instance)),
      EXECUTOR_QUEUE_NAME: 'jobs',
      EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES: 'true',
      EXECUTOR_DATA_DIR: options.dataDirectory,
      ...(options.dockerSocket === undefined
        ? {}
        : { EXECUTOR_USE_FIRECRACKER: 'false', DOCKER_HOST: `unix://${options.dockerSocket}` }),
      SRC_LOG_LEVEL: 'info',
      ...options.env,
    }),
    logFile: options.logFile,
    outlives: options.outlives ?? false,
  });
  try {
    await executor.waitForLine(
      options.readyLine ?? executorReady,
      options.readySeconds ?? startSeconds,
      options.signal,
    );
    return executor;
  } catch (error) {
    await executor.stop();
    throw error;
  }
}

const executorReady = /^executor \S+ .*works for /;

/** The secret that executors of this instance are started with. */
export async function sharedSecret({ url, adminToken }: ExecutorStart['instance']): Promise<string> {
  const response = await fetch(`${url}/.api/site-config/executor-token`, {
    headers: { authorization: `token ${adminToken}` },
    signal: AbortSignal.timeout(10_000),
  });
  if (!response.ok)
    throw new Error(`the instance gave no shared secret: ${response.status} ${await response.text()}`);
  return String(Reflect.get(Object(await response.json()), 'accessToken'));
}

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs one `bin/kiln` command against an instance, to its end. */
export async function runKiln(
  instance: Pick<InstanceProcess, 'url' | 'adminToken'>,
  args: readonly string[],
  options: { stdin?: string; cwd?: string; signal?: AbortSignal } = {},
): Promise<CommandResult> {
  const child = spawn(path.join(checkout, 'bin/kiln'), args, {
    cwd: options.cwd ?? checkout,
    env: programEnvironment({ KILN_URL: instance.url, KILN_TOKEN: instance.adminToken }),
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.signal ? { signal: options.signal } : {}),
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject);
  child.on('close', resolve);
  return { code: await promise, stdout, stderr };
}

/** Nothing of Kiln's or of the executor's own settings comes from whoever runs this. */
export function programEnvironment(env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(KILN|EXECUTOR|SRC|KUBERNETES)_/.test(name) && !['DOCKER_HOST', 'TMPDIR'].includes(name),
  );
  return { ...Object.fromEntries(inherited), ...env };
}
