import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DockerAuthConfig, JobDocument } from '@kiln/protocol';
import type { JobLog } from '../logs/index.ts';
import { makeDirectoryInside, pathComponents, runHostCommand } from '../workspace/index.ts';
import { HopelessError } from './failure.ts';

export interface HostSrcOptions {
  document: JobDocument;
  workspaceDirectory: string;
  stateDirectory: string;
  registryAuth: DockerAuthConfig;
  /** The executor's own `HOME`, `PATH`, `USER` and `DOCKER_HOST`: all that a command on this machine is given. */
  hostEnvironment: Readonly<Record<string, string>>;
  log: JobLog;
  signal: AbortSignal;
  onStep(logKey: string): void;
}

/** Refuses jobs with `src` steps where nobody has allowed them. */
export function checkHostSrc(document: JobDocument, allowed: boolean): void {
  if (document.cliSteps.length === 0 || allowed) return;
  throw new HopelessError(
    'the job has steps that run `src` on the executor itself, outside any sandbox; turn on native execution of batch changes on the instance, or set EXECUTOR_ALLOW_HOST_SRC=true on an executor you trust with it',
  );
}

/** Runs `src` steps on this machine, as the reference does, after the container steps. */
export async function runHostSrc(options: HostSrcOptions): Promise<void> {
  const { document, log, signal } = options;
  if (document.cliSteps.length === 0) return;
  await using auth = await writeDockerConfig(options.stateDirectory, options.registryAuth);
  for (const [index, step] of document.cliSteps.entries()) {
    const key = `step.src.${step.key === '' ? index : step.key}`;
    options.onStep(key);
    const cwd = await makeDirectoryInside(options.workspaceDirectory, pathComponents(step.dir));
    const env = {
      ...environmentOf(step.env),
      ...(auth.directory === undefined ? {} : { DOCKER_CONFIG: auth.directory }),
      ...options.hostEnvironment,
    };
    await runHostCommand({ key, argv: ['src', ...step.command], env, cwd }, log, signal);
  }
}

function environmentOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

async function writeDockerConfig(
  stateDirectory: string,
  auth: DockerAuthConfig,
): Promise<{ directory: string | undefined } & AsyncDisposable> {
  if (Object.keys(auth.auths ?? {}).length === 0)
    return { directory: undefined, [Symbol.asyncDispose]: async () => undefined };
  const directory = await mkdtemp(join(stateDirectory, 'docker-auth-'));
  await writeFile(join(directory, 'config.json'), JSON.stringify(auth), { mode: 0o600 });
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
