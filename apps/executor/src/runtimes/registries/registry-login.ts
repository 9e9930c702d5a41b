import type { DockerAuthConfig } from '@kiln/protocol';

export interface RegistryLogin {
  user: string;
  /** Secret. */
  password: string;
}

/** Docker Hub is known by several names in `config.json`. */
const hubNames = ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'];

/** Chooses the credentials for a registry out of a `config.json`; only an entry of exactly that host counts. */
export function loginFor(registry: string, config: DockerAuthConfig): RegistryLogin | undefined {
  const names = registry === 'docker.io' ? hubNames : [registry];
  const entry = Object.entries(config.auths ?? {}).find(([key]) => names.includes(hostOf(key)));
  if (!entry) return undefined;
  const decoded = Buffer.from(entry[1].auth, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  return { user: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}

/** `https://index.docker.io/v1/` -> `index.docker.io` */
function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}
