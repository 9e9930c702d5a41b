import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFailed } from 'vitest';
import { type Host, readSettings } from '../../apps/executor/src/env/index.ts';
import { type Executor, newExecutorName, startExecutor } from '../../apps/executor/src/executor.ts';
import { createProcessLog, createSecretRegister } from '../../apps/executor/src/process-log/index.ts';
import type { Runtime } from '../../apps/executor/src/runtimes/runtime.ts';
import { createHostRuntime } from './host-runtime.ts';

export interface TestExecutor extends AsyncDisposable {
  readonly executor: Executor;
  readonly name: string;
  /** Below it: `data` (EXECUTOR_DATA_DIR) and `tmp` (TMPDIR). */
  readonly directory: string;
  /** Lines of the process log. */
  readonly log: readonly string[];
}

export interface TestExecutorOptions {
  url: URL;
  sharedSecret: string;
  env?: Readonly<Record<string, string>>;
  runtime?: Runtime;
  /** `PATH` of commands on this machine; by default that of the test process. */
  path?: string;
  /** Kept when disposed; by default a fresh one, removed then. */
  directory?: string;
}

const shownLines = 40;

const host: Host = {
  platform: 'linux',
  onKubernetes: false,
  isRoot: false,
  homeDirectory: '/nonexistent',
  stateHome: undefined,
  temporaryDirectory: '/nonexistent',
  readFile: () => '',
  isFile: () => false,
};

/**
 * An executor inside the test process, on the test-only host runtime; disposing shuts it down. When the test fails, what
 * the executor logged is shown. Only within a test, and not a concurrent one.
 */
export async function startTestExecutor(options: TestExecutorOptions): Promise<TestExecutor> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'kiln-test-executor-')));
  const log: string[] = [];
  const secrets = createSecretRegister();
  const { settings } = readSettings(
    {
      EXECUTOR_FRONTEND_URL: options.url.href,
      EXECUTOR_FRONTEND_PASSWORD: options.sharedSecret,
      ...(options.env?.['EXECUTOR_QUEUE_NAMES'] === undefined ? { EXECUTOR_QUEUE_NAME: 'batches' } : {}),
      EXECUTOR_QUEUE_POLL_INTERVAL: '50ms',
      EXECUTOR_USE_FIRECRACKER: 'false',
      EXECUTOR_DATA_DIR: join(directory, 'data'),
      TMPDIR: join(directory, 'tmp'),
      EXECUTOR_MIN_FREE_DISK: '1M',
      ...options.env,
    },
    host,
  );
  const name = newExecutorName();
  onTestFailed(() => console.error(`log of the executor ${name}:\n${log.slice(-shownLines).join('')}`));
  const executor = await startExecutor({
    settings,
    runtime: options.runtime ?? createHostRuntime(),
    executorName: name,
    env: { PATH: options.path ?? process.env['PATH'] ?? '', HOME: '/nonexistent' },
    secrets,
    log: createProcessLog({
      level: 'dbug',
      format: 'json',
      redact: (line) => secrets.redactText(line),
      write: (line) => log.push(line),
    }),
    onConnected: () => undefined,
  });
  return {
    executor,
    name,
    directory,
    log,
    async [Symbol.asyncDispose]() {
      executor.shutDown();
      await executor.ended;
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}
