import { homedir } from 'node:os';

/**
 * The home directory whose `.docker/config.json` counts: that of the user who runs the executor. In microVMs nobody's,
 * as the reference has it, unless the operator allows it; Kiln resolves images outside the VM, where the file can be read.
 * @returns undefined: no such file counts
 */
export function userConfigHome(
  runtime: { readonly name: string },
  settings: { readonly microvmDockerConfig: boolean },
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (runtime.name === 'microvm' && !settings.microvmDockerConfig) return undefined;
  return env['HOME'] || homedir();
}
