import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../../env/index.ts';
import { resolveRegistryAuth, userConfigHome } from '../../registry-auth/index.ts';
import type { Runtime } from '../../runtimes/runtime.ts';
import { type Check, ok, warning } from './check.ts';

const sources = {
  job: 'the job',
  setting: 'EXECUTOR_DOCKER_AUTH_CONFIG',
  user: '.docker/config.json of the user who runs the executor',
} as const;

/** Which credentials jobs use for registries that bring none of their own. Never quotes one. */
export async function checkRegistries(
  settings: Settings,
  runtime: Pick<Runtime, 'name'>,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Check[]> {
  const homeDirectory = userConfigHome(runtime, settings, env);
  const { source, auth, notices } = await resolveRegistryAuth({
    job: {},
    setting: settings.dockerAuthConfig,
    homeDirectory,
    // Credential helpers may have effects of their own; they are asked for jobs only.
    images: [],
    hostEnvironment: {},
    signal: AbortSignal.timeout(10_000),
  });
  const problems = notices.map((notice) => warning('registries', notice, 'Mend the file, or log in again.'));
  if (source !== 'none') {
    const registries = Object.keys(auth.auths ?? {}).join(', ');
    return [ok('registries', `${others} have those of ${sources[source]} (${registries})`), ...problems];
  }
  const path = join(env['HOME'] || homedir(), '.docker', 'config.json');
  if (!(await isThere(path))) return [ok('registries', `${others} get public images only`)];
  if (homeDirectory === undefined) {
    // It counts with containers, so it is easily taken for what counts here.
    return [
      warning(
        'registries',
        `${path} is not used for jobs in microVMs: ${others} get public images only`,
        'Set the secret DOCKER_AUTH_CONFIG at the instance or EXECUTOR_DOCKER_AUTH_CONFIG here; or allow the file by EXECUTOR_MICROVM_DOCKER_CONFIG=true.',
      ),
    ];
  }
  const rest = `${path} has no static ones that can be used; credential helpers in it are asked when a job needs them`;
  return [ok('registries', `${others}: ${rest}`), ...problems];
}

const others = 'jobs without credentials of their own';

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
