import { z } from 'zod';

/** Registry credentials in the shape of Docker's `config.json`, reduced to `auths`. `auth` is base64 of `user:password`. */
export const dockerAuthConfigSchema = z.object({
  auths: z.record(z.string(), z.object({ auth: z.string() })).optional(),
});
export type DockerAuthConfig = z.infer<typeof dockerAuthConfigSchema>;

/**
 * Names what is wrong with credentials without ever quoting a value.
 * @returns one line per mistake; empty when all is well
 */
export function dockerAuthMistakes(config: unknown): string[] {
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    return ['must be a JSON object with "auths"'];
  const helper = ['credsStore', 'credHelpers'].find((name) => Object.hasOwn(config, name));
  if (helper !== undefined)
    return [
      `has "${helper}": programs that keep credentials can be used by ~/.docker/config.json of an executor's user only`,
    ];
  const auths = (config as Record<string, unknown>)['auths'];
  if (auths === undefined) return ['has no "auths"'];
  if (typeof auths !== 'object' || auths === null || Array.isArray(auths))
    return ['"auths" must be an object of registries'];
  return Object.entries(auths).flatMap(([registry, entry]) => {
    const mistake = authMistake(entry);
    return mistake === undefined ? [] : [`auths[${JSON.stringify(registry)}]: ${mistake}`];
  });
}

function authMistake(entry: unknown): string | undefined {
  const auth: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'auth') : undefined;
  if (typeof auth !== 'string' || auth === '') return 'has no "auth" string';
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(auth) || auth.length % 4 !== 0) return '"auth" is not base64';
  const decoded = Buffer.from(auth, 'base64').toString('latin1');
  if (decoded.endsWith('\n')) return 'decoded "auth" ends in a newline (made by `echo` without `-n`?)';
  if (!decoded.includes(':')) return 'decoded "auth" is not of the form user:password';
  return undefined;
}
