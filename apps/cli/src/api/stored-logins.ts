import { chmod, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CliError } from '../errors.ts';
import type { Invocation } from '../invocation.ts';

const loginSchema = z.object({
  token: z.string(),
  /** Of the access token, to revoke it. */
  tokenId: z.number(),
  user: z.string(),
});
const fileSchema = z.record(z.string(), loginSchema);

/** What `kiln login` keeps of one instance. */
export type StoredLogin = z.infer<typeof loginSchema>;

/** What is kept is not this user's to read. */
export class UnreadableLogins extends CliError {
  override readonly name = 'UnreadableLogins';
}

type Environment = Pick<Invocation, 'env'>;

/** `kiln/logins.json` in the user's configuration directory (XDG Base Directory); undefined where there is none. */
export function loginsFile({ env }: Environment): string | undefined {
  const { XDG_CONFIG_HOME: xdg, HOME: home } = env;
  if (xdg && path.isAbsolute(xdg)) return path.join(xdg, 'kiln', 'logins.json');
  return home ? path.join(home, '.config', 'kiln', 'logins.json') : undefined;
}

/** @param url of the instance. @throws UnreadableLogins; CliError when the file is broken, or others can read it */
export async function findLogin(invocation: Environment, url: string): Promise<StoredLogin | undefined> {
  const file = loginsFile(invocation);
  return file === undefined ? undefined : (await readLogins(file))[url];
}

/** Keeps a login of an instance in place of the one before, or none. @throws CliError */
export async function storeLogin(
  invocation: Environment,
  url: string,
  login: StoredLogin | undefined,
): Promise<void> {
  const file = loginsFile(invocation);
  if (file === undefined) {
    throw new CliError('there is no place to keep the login: neither HOME nor XDG_CONFIG_HOME is set', {
      hint: 'set HOME, or use KILN_TOKEN',
    });
  }
  const { [url]: _, ...logins } = await readLogins(file);
  if (login !== undefined) logins[url] = login;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await writePrivately(file, `${JSON.stringify(logins, null, 2)}\n`);
}

async function readLogins(file: string): Promise<Record<string, StoredLogin>> {
  let text: string;
  try {
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0) {
      throw new CliError(`others can read or change ${file}, which holds access tokens`, {
        hint: `chmod 600 ${file}; if somebody may have read it, also: kiln logout, and kiln login again`,
      });
    }
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof CliError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return {};
    const Unread = code === 'EACCES' ? UnreadableLogins : CliError;
    throw new Unread(`the logins cannot be read: ${message}`, {
      hint: `mend the rights of ${file}, or use KILN_TOKEN`,
    });
  }
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch {
    // Without the parser's words: they quote what may be a token.
    throw new CliError(`${file} is not what kiln login wrote`, { hint: 'remove it and log in again' });
  }
}

/** Replaces a file as a whole, readable by its owner only from the first byte on. */
async function writePrivately(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  {
    await using handle = await open(temporary, 'w', 0o600);
    await handle.writeFile(text);
  }
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}
