/** All that commands on this machine see of the executor's environment (from the reference). */
export function hostEnvironmentOf(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(['HOME', 'PATH', 'USER', 'DOCKER_HOST'].map((name) => [name, env[name] ?? '']));
}
