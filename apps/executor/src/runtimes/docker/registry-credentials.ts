import { createHash } from 'node:crypto';
import type { DockerAuthConfig } from '@kiln/protocol';
import { loginFor } from '../registries/index.ts';

export interface RegistryCredentials {
  /** Value of `X-Registry-Auth`; absent: anonymous. Secret. */
  header?: string;
  /** Tells credentials apart without holding them: the same for the same credentials within this process. */
  fingerprint: string;
}

/** The credentials for a registry in the form that the daemon takes. */
export function credentialsFor(registry: string, config: DockerAuthConfig): RegistryCredentials {
  const login = loginFor(registry, config);
  if (!login) return { fingerprint: 'anonymous' };
  const header = paddedBase64Url(
    JSON.stringify({
      username: login.user,
      password: login.password,
      serveraddress: registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry,
    }),
  );
  return { header, fingerprint: createHash('sha256').update(header).digest('hex') };
}

/** The daemon insists on the padding, which Node's `base64url` leaves out. */
function paddedBase64Url(text: string): string {
  return Buffer.from(text).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}
