import { randomBytes } from 'node:crypto';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { keyBytes } from './sealing.ts';

/** The key that encrypts secrets is missing, unusable or another one; the message says where it was looked for. */
export class SecretKeyError extends Error {
  override readonly name = 'SecretKeyError';
}

export interface KeySourceOptions {
  dataDirectory: string;
  /** `KILN_SECRET_KEY`: keys as `parseKeys` reads them. */
  key?: string | undefined;
  /** `KILN_SECRET_KEY_FILE`: a file of the operator's with keys. */
  keyFile?: string | undefined;
  log: Logger;
}

export interface KeySource {
  /** For people: a variable or a path. */
  name: string;
  /** Undefined: the file of the data directory is not there. */
  text: string | undefined;
}

/** Reads the keys of the settings, else those of `secret-key` in the data directory. @throws SecretKeyError */
export async function readKeySource({
  dataDirectory,
  key,
  keyFile,
  log,
}: KeySourceOptions): Promise<KeySource> {
  if (key !== undefined && keyFile !== undefined) {
    throw new SecretKeyError('KILN_SECRET_KEY and KILN_SECRET_KEY_FILE are both set; keep one of them');
  }
  if (key !== undefined) return { name: 'KILN_SECRET_KEY', text: key };
  const path = keyFile ?? join(dataDirectory, 'secret-key');
  try {
    const text = await readFile(path, 'utf8');
    const { mode } = await stat(path);
    if ((mode & 0o004) !== 0) {
      log.warn({ path }, 'everybody on this machine can read the key that encrypts secrets; chmod it');
    }
    return { name: path, text };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && keyFile === undefined) return { name: path, text: undefined };
    throw new SecretKeyError(`the key that encrypts secrets cannot be read: ${message}`, { cause: error });
  }
}

/** Makes a file with a new key, for its owner only. @returns its text */
export async function makeKeyFile(path: string, log: Logger): Promise<string> {
  const text = `${randomBytes(keyBytes).toString('hex')}\n`;
  {
    await using file = await open(`${path}.new`, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(`${path}.new`, path);
  // The name too: a secret that survives a power failure without its key is lost.
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
  log.info(
    { path },
    'made the key that encrypts secrets; keep it with your backups, apart from the database',
  );
  return text;
}
