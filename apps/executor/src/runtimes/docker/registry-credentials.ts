import { createHash } from 'node:crypto';
import type { DockerAuthConfig } from '@kiln/protocol';

export interface RegistryCredentials {
  /** Value of `X-Registry-Auth`; absent: anonymous. Secret. */
  header?: string;
  /** Tells credentials apart without holding them: the same for the same credentials within this process. */
  fingerprint: string;
}

/** Docker Hub is known by several names in `config.json`. */
const hubNames = ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'];

/** Chooses the credentials for a registry out of a `config.json`; only an entry of exactly that host counts. */
export function credentialsFor(registry: string, config: DockerAuthConfig): RegistryCredentials {
  const names = registry === 'docker.io' ? hubNames : [registry];
  const entry = Object.entries(config.auths ?? {}).find(([key]) => names.includes(hostOf(key)));
  if (!entry) return { fingerprint: 'anonymous' };
  const decoded = Buffer.from(entry[1].auth, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  const header = paddedBase64Url(
    JSON.stringify({
      username: decoded.slice(0, colon),
      password: decoded.slice(colon + 1),
      serveraddress: registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry,
    }),
  );
  return { header, fingerprint: createHash('sha256').update(header).digest('hex') };
}

/** The daemon insists on the padding, which Node's `base64url` leaves out. */
function paddedBase64Url(text: string): string {
  return Buffer.from(text).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** `https://index.docker.io/v1/` -> `index.docker.io` */
function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}
