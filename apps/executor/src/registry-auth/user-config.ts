import { open } from 'node:fs/promises';
import { type DockerAuthConfig, dockerAuthMistakes } from '@kiln/protocol';
import { z } from 'zod';
import { askCredentialHelper, CredentialHelperError } from './credential-helper.ts';
import { registryKeys, registryOf } from './registries.ts';

/** A file with more than this is not Docker's. */
const maxConfigBytes = 1024 * 1024;

const userConfigSchema = z.object({
  auths: z.record(z.string(), z.unknown()).nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
  credsStore: z.string().nullish(),
});
type UserConfig = z.infer<typeof userConfigSchema>;

interface UserConfigOptions {
  path: string;
  images: readonly string[];
  hostEnvironment: Readonly<Record<string, string>>;
  signal: AbortSignal;
}

/**
 * Reads Docker's `config.json`. For each registry of `images` that has a credential helper, or for all of them with a
 * credential store, that program is asked, as Docker does; for the rest the file's own `auths` count.
 * @returns credentials, and a line for everything that could not be used
 */
export async function readUserConfig(
  options: UserConfigOptions,
): Promise<{ auth: DockerAuthConfig; notices: string[] }> {
  const notices: string[] = [];
  const config = await readConfig(options.path, notices);
  if (config === undefined) return { auth: {}, notices };
  const auths = staticAuths(config, options.path, notices);
  for (const registry of new Set(options.images.map(registryOf))) {
    const helper = helperFor(registry, config);
    if (helper === undefined) continue;
    const [key = registry] = registryKeys(registry);
    for (const name of registryKeys(registry)) delete auths[name];
    try {
      const auth = await askCredentialHelper(helper, key, options.hostEnvironment, options.signal);
      if (auth !== undefined) auths[key] = { auth };
    } catch (error) {
      if (options.signal.aborted) break;
      if (!(error instanceof CredentialHelperError)) throw error;
      notices.push(`no credentials for ${registry}: ${error.message}`);
    }
  }
  return { auth: Object.keys(auths).length === 0 ? {} : { auths }, notices };
}

async function readConfig(path: string, notices: string[]): Promise<UserConfig | undefined> {
  let text: string;
  try {
    text = await readLimited(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      notices.push(
        `registry credentials of the executor's user are not used: cannot read ${path}: ${message}`,
      );
    }
    return undefined;
  }
  try {
    return userConfigSchema.parse(JSON.parse(text));
  } catch {
    // The parser's own message would quote the file.
    notices.push(
      `registry credentials of the executor's user are not used: ${path} is not a Docker config.json`,
    );
    return undefined;
  }
}

async function readLimited(path: string): Promise<string> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  if (size > maxConfigBytes) throw new Error(`it has ${size} bytes, more than ${maxConfigBytes}`);
  // Awaited here: the file is closed when this returns.
  return await file.readFile('utf8');
}

function staticAuths(config: UserConfig, path: string, notices: string[]): Record<string, { auth: string }> {
  const auths: Record<string, { auth: string }> = {};
  for (const [registry, entry] of Object.entries(config.auths ?? {})) {
    const auth: unknown =
      typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'auth') : undefined;
    // Entries that a credential store serves are empty here.
    if (auth === undefined || auth === '') continue;
    const mistakes = dockerAuthMistakes({ auths: { [registry]: { auth } } });
    if (typeof auth === 'string' && mistakes.length === 0) auths[registry] = { auth };
    else notices.push(`${path}: ${mistakes.join('; ')}; it is not used`);
  }
  return auths;
}

function helperFor(registry: string, config: UserConfig): string | undefined {
  for (const key of registryKeys(registry)) {
    const helper = config.credHelpers?.[key];
    if (helper) return helper;
  }
  return config.credsStore || undefined;
}
