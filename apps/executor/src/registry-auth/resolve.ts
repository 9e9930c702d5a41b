import { join } from 'node:path';
import type { DockerAuthConfig } from '@kiln/protocol';
import { readUserConfig } from './user-config.ts';

export interface RegistryAuthOptions {
  /** The job document's `dockerAuthConfig`. */
  job: DockerAuthConfig;
  /** `EXECUTOR_DOCKER_AUTH_CONFIG`. */
  setting: DockerAuthConfig | undefined;
  /** Where `.docker/config.json` of the executor's user is looked for; undefined where it does not count (microVMs). */
  homeDirectory: string | undefined;
  /** Images of the job's steps: credential helpers are asked for their registries only. */
  images: readonly string[];
  /** The environment of credential helpers: `PATH` to find them, `HOME` to find their own settings. */
  hostEnvironment: Readonly<Record<string, string>>;
  /** Stops the asking of credential helpers; the result then lacks what was not asked yet. */
  signal: AbortSignal;
}

export interface RegistryAuth {
  source: 'job' | 'setting' | 'user' | 'none';
  auth: DockerAuthConfig;
  /** What could not be used and why, one line each, for the job's log; never a credential. */
  notices: string[];
}

/**
 * Registry credentials of a job's images by the reference's precedence, never merged: the job's
 * own, else `EXECUTOR_DOCKER_AUTH_CONFIG`, else those of the executor's user, credential helpers and stores included.
 * Whatever is wrong with the user's file is a notice: a job with public images must not fail because of it.
 */
export async function resolveRegistryAuth(options: RegistryAuthOptions): Promise<RegistryAuth> {
  const { job, setting, homeDirectory } = options;
  if (hasAuths(job)) return { source: 'job', auth: job, notices: [] };
  if (setting !== undefined && hasAuths(setting)) return { source: 'setting', auth: setting, notices: [] };
  if (homeDirectory === undefined) return { source: 'none', auth: {}, notices: [] };
  const path = join(homeDirectory, '.docker', 'config.json');
  const { auth, notices } = await readUserConfig({ ...options, path });
  return { source: hasAuths(auth) ? 'user' : 'none', auth, notices };
}

function hasAuths(config: DockerAuthConfig): boolean {
  return Object.keys(config.auths ?? {}).length > 0;
}
