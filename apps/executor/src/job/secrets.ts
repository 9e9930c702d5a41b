import type { DockerAuthConfig, JobDocument } from '@kiln/protocol';

/**
 * Everything of a job that no log and no message may show, with what stands in its place: the values the instance
 * names, the job's token, the shared secret, and registry passwords (in both forms in which they travel).
 */
export function secretsOf(
  document: JobDocument,
  sharedSecret: string,
  registryAuth: DockerAuthConfig,
): ReadonlyMap<string, string> {
  const secrets = new Map<string, string>([[sharedSecret, 'SECRET_REMOVED']]);
  if (document.token !== '') secrets.set(document.token, 'TOKEN_REMOVED');
  for (const { auth } of Object.values(registryAuth.auths ?? {})) {
    secrets.set(auth, 'CREDENTIALS_REMOVED');
    const pair = Buffer.from(auth, 'base64').toString('utf8');
    const password = pair.slice(pair.indexOf(':') + 1);
    if (password !== '') secrets.set(password, 'PASSWORD_REMOVED');
  }
  // Last, because the instance knows best what a value is called.
  for (const [value, replacement] of Object.entries(document.redactedValues)) {
    if (value !== '') secrets.set(value, replacement);
  }
  return secrets;
}
