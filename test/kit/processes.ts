import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  type CommandResult,
  type ExecutorStart,
  type InstanceProcess,
  runKiln,
  startExecutorProcess,
  startInstanceProcess,
} from '../../tools/process/programs.ts';
import type { RunningProcess } from '../../tools/process/running-process.ts';

/** An instance and executors as real processes, with everything they keep below one directory of their own. */
export interface TestSite extends AsyncDisposable {
  readonly directory: string;
  readonly instance: InstanceProcess;
  /** Runs `bin/kiln` against the instance. */
  kiln(args: readonly string[], options?: { stdin?: string; cwd?: string }): Promise<CommandResult>;
  /** The same with `--json`, read; throws what it wrote when it did not succeed. */
  kilnJson<Value>(args: readonly string[], options?: { stdin?: string; cwd?: string }): Promise<Value>;
  startExecutor(
    env?: NodeJS.ProcessEnv,
    options?: Pick<ExecutorStart, 'readySeconds' | 'readyLine'>,
  ): Promise<RunningProcess>;
  /** Starts the instance again on the same data and port, after it was stopped or killed. */
  restartInstance(): Promise<void>;
}

export async function startTestSite(options: {
  dockerSocket: string;
  env?: NodeJS.ProcessEnv;
}): Promise<TestSite> {
  const directory = await mkdtemp(path.join(tmpdir(), 'kiln-site-'));
  const executors: RunningProcess[] = [];
  let starts = 0;

  function startInstance(listen?: string): Promise<InstanceProcess> {
    return startInstanceProcess({
      dataDirectory: path.join(directory, 'instance'),
      logFile: path.join(directory, `instance-${++starts}.log`),
      ...(listen === undefined ? {} : { listen }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
  }

  let instance: InstanceProcess;
  try {
    instance = await startInstance();
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
  const kiln: TestSite['kiln'] = (args, commandOptions) => runKiln(instance, args, commandOptions);
  return {
    directory,
    get instance() {
      return instance;
    },
    kiln,
    async kilnJson(args, commandOptions) {
      const { code, stdout, stderr } = await kiln(['--json', ...args], commandOptions);
      if (code !== 0) throw new Error(`kiln ${args.join(' ')}: exit code ${code}\n${stderr}`);
      return JSON.parse(stdout);
    },
    async startExecutor(env, executorOptions) {
      const number = executors.length + 1;
      const executor = await startExecutorProcess({
        instance,
        dataDirectory: path.join(directory, `executor-${number}`),
        dockerSocket: options.dockerSocket,
        logFile: path.join(directory, `executor-${number}.log`),
        ...(env === undefined ? {} : { env }),
        ...executorOptions,
      });
      executors.push(executor);
      return executor;
    },
    async restartInstance() {
      instance = await startInstance(new URL(instance.url).host);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(executors.map((executor) => executor.stop()));
      await instance[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
