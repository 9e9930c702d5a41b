import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import type { SealedTexts } from '../secrets/index.ts';
import { makeFirstVersion } from './first-version.ts';
import { follow, type ReadConfig } from './followed.ts';
import { revealSecrets } from './hidden-secrets.ts';
import { createHistory } from './history.ts';
import { parseSiteConfig, SiteConfigError } from './parse.ts';
import { readConfig } from './sealed-config.ts';
import type { SiteConfig } from './site-config.ts';
import { channel, latestVersion, type StoredVersion, withoutText } from './store.ts';

export interface StoredConfigOptions {
  dataDirectory: string;
  database: Database;
  sealedTexts: SealedTexts;
  log: Logger;
  /** How often the database is asked even if no change was announced. */
  rereadSeconds?: number;
}

/**
 * Follows the configuration in the database, which every instance on it does, and makes it at the first start.
 * @throws SiteConfigError
 */
export async function openStoredConfig(options: StoredConfigOptions): Promise<SiteConfig> {
  const { database, sealedTexts, log, rereadSeconds = 5 } = options;
  await makeFirstVersion(options);

  async function readNow(inForce: ReadConfig | undefined): Promise<ReadConfig> {
    const latest = await requireLatest(database);
    const identity = `version ${latest.version}`;
    if (inForce?.identity === identity) return inForce;
    const hidden = await readConfig(sealedTexts, database, latest.textId);
    return { identity, hidden, values: parseSiteConfig(revealSecrets(hidden), identity) };
  }

  const followed = follow(await explainBadVersion(readNow(undefined)), readNow, log);
  const listening = await database.listen(channel, followed.reload, followed.reload);
  const rereading = setInterval(followed.reload, rereadSeconds * 1000);
  rereading.unref();
  // What changed before listening began.
  await followed.reload();

  return {
    current: () => followed.current().values,
    reload: followed.reload,
    async show() {
      const latest = await requireLatest(database);
      const { text } = await readConfig(sealedTexts, database, latest.textId);
      return { text, file: null, latest: withoutText(latest) };
    },
    history: createHistory({ database, sealedTexts, applied: followed.reload }),
    async [Symbol.asyncDispose]() {
      clearInterval(rereading);
      await listening[Symbol.asyncDispose]();
      await followed.settled();
    },
  };
}

async function requireLatest(database: Database): Promise<StoredVersion> {
  const latest = await latestVersion(database);
  if (!latest) throw new Error('the database holds no site configuration');
  return latest;
}

/** Was valid when it was saved, so another version of Kiln wrote it; without an instance nobody could change it. */
async function explainBadVersion(reading: Promise<ReadConfig>): Promise<ReadConfig> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof SiteConfigError)) throw error;
    throw new SiteConfigError(
      error.path,
      error.mistakes,
      'Another version of Kiln made it. Start that one to change it, or this one with KILN_SITE_CONFIG_FILE.',
    );
  }
}
