import { join } from 'node:path';
import { checkout, programEnvironment } from '../../tools/process/programs.ts';
import { RunningProcess } from '../../tools/process/running-process.ts';
import type { PlainInstance } from './plain-instance.ts';

/** Starts `bin/executor run` with real containers, for an instance that knows only the reference's protocol. */
export async function startPlainExecutor(options: {
  instance: PlainInstance;
  dockerSocket: string;
  /** Below it: `data`, `tmp` and the log. */
  directory: string;
  /** Name of the log below `directory`. */
  logName?: string;
  env?: NodeJS.ProcessEnv;
}): Promise<RunningProcess> {
  const { instance, directory } = options;
  const executor = new RunningProcess({
    name: 'the executor',
    program: join(checkout, 'bin/executor'),
    args: ['run'],
    cwd: directory,
    env: programEnvironment({
      EXECUTOR_FRONTEND_URL: instance.url.href,
      EXECUTOR_FRONTEND_PASSWORD: instance.sharedSecret,
      EXECUTOR_QUEUE_NAME: 'batches',
      EXECUTOR_USE_FIRECRACKER: 'false',
      EXECUTOR_DOCKER_ALLOW_LOCAL_IMAGES: 'true',
      EXECUTOR_JOB_MEMORY: '256M',
      EXECUTOR_JOB_NUM_CPUS: '1',
      EXECUTOR_DATA_DIR: join(directory, 'data'),
      TMPDIR: join(directory, 'tmp'),
      EXECUTOR_CLEANUP_TASK_INTERVAL: '2s',
      DOCKER_HOST: `unix://${options.dockerSocket}`,
      ...options.env,
    }),
    logFile: join(directory, options.logName ?? 'executor.log'),
  });
  try {
    await executor.waitForLine(/works for /, 120);
    return executor;
  } catch (error) {
    await executor.stop();
    throw error;
  }
}
