import type { SiteConfigView } from '@kiln/protocol';
import type { Logger } from 'pino';
import type { Database } from '../../database/index.ts';
import type { SealedTexts } from '../secrets/index.ts';
import { openConfigFile } from './config-file.ts';
import type { SiteConfigHistory } from './history.ts';
import type { SiteConfigValues } from './schema.ts';
import { openStoredConfig } from './stored-config.ts';

/** The site configuration, followed while the instance runs. */
export interface SiteConfig extends AsyncDisposable {
  /** What is in force now. Read it for each use: it changes without a restart. */
  current(): SiteConfigValues;
  /** Reads it again now; changes are found without it within seconds. */
  reload(): Promise<void>;
  /** As people may see it: secrets are hidden. */
  show(): Promise<SiteConfigView>;
  /** How it is changed. Undefined: it is a file of the operator's, which nobody but they may write. */
  history: SiteConfigHistory | undefined;
}

export interface SiteConfigOptions {
  /** A file of the operator's, only read; without it the configuration is in the database. */
  file?: string | undefined;
  /** Where earlier versions of Kiln kept it: `site-config.jsonc` there is taken over. */
  dataDirectory: string;
  database: Database;
  sealedTexts: SealedTexts;
  log: Logger;
}

/** Opens the site configuration. A mistake in it stops the start. @throws SiteConfigError */
export async function openSiteConfig({ file, ...options }: SiteConfigOptions): Promise<SiteConfig> {
  return file === undefined ? openStoredConfig(options) : openConfigFile({ file, log: options.log });
}
