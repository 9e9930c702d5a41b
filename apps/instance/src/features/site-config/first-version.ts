import { randomBytes } from 'node:crypto';
import { access, chmod, lstat, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import type { SealedTexts } from '../secrets/index.ts';
import { readConfigFile } from './config-file.ts';
import { hideSecrets } from './hidden-secrets.ts';
import { parseSiteConfig } from './parse.ts';
import { keepConfig } from './sealed-config.ts';
import { insertVersion, latestVersion, lockVersions } from './store.ts';

export interface FirstVersionOptions {
  dataDirectory: string;
  database: Database;
  sealedTexts: SealedTexts;
  log: Logger;
}

/**
 * Makes the first version unless there is one: of the file in which earlier versions of Kiln kept the configuration,
 * else with a new shared secret for executors. Safe with several instance processes starting at once.
 * @throws SiteConfigError when the file has a mistake
 */
export async function makeFirstVersion(options: FirstVersionOptions): Promise<void> {
  const { dataDirectory, log } = options;
  const path = join(dataDirectory, 'site-config.jsonc');
  const isFileThere = await access(path).then(
    () => true,
    () => false,
  );
  const isFirst = await insertFirst(options, isFileThere ? path : undefined);
  if (!isFirst && isFileThere) {
    log.warn(
      { path },
      'this file is not read: the site configuration is in the database (docs/site-configuration.md)',
    );
  } else if (isFirst && isFileThere) {
    log.info('took the site configuration over into the database');
    await setAside(path, log);
  } else if (isFirst) {
    log.info('made the site configuration, with a new shared secret for executors');
  }
}

/**
 * Renames a file that was taken over. Where that cannot be, as with a bind mount, it stays: the configuration is in the
 * database by then, and the start must not fail.
 */
async function setAside(path: string, log: Logger): Promise<void> {
  const kept = `${path}.taken-over`;
  try {
    await rename(path, kept);
    // It has the shared secret. What a link leads to is somebody else's.
    if (!(await lstat(kept)).isSymbolicLink()) await chmod(kept, 0o600);
    log.info({ path: kept }, 'set the file aside that was taken over; it is not read any more');
  } catch (err) {
    log.warn(
      { err, path, kept },
      'could not set the file aside that was taken over: it is not read any more, and has the shared secret',
    );
  }
}

async function insertFirst(
  { database, sealedTexts }: FirstVersionOptions,
  path: string | undefined,
): Promise<boolean> {
  if (await latestVersion(database)) return false;
  const text = path === undefined ? newConfig() : (await readConfigFile(path)).replace(/^\uFEFF/, '');
  parseSiteConfig(text, path ?? 'a new one');
  return database.transaction(async (transaction) => {
    await lockVersions(transaction);
    if (await latestVersion(transaction)) return false;
    const textId = await keepConfig(sealedTexts, transaction, hideSecrets(text, new Map()));
    await insertVersion(transaction, {
      textId,
      cause: path === undefined ? 'first start' : 'file taken over',
    });
    return true;
  });
}

function newConfig(): string {
  return `// The site configuration. Comments and trailing commas are allowed; changes apply without a restart.
{
  // The shared secret of executors: the value of their EXECUTOR_FRONTEND_PASSWORD.
  "executors.accessToken": ${JSON.stringify(randomBytes(32).toString('hex'))},
}
`;
}
