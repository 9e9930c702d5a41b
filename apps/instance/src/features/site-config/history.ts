import type {
  SiteConfigDiff,
  SiteConfigHistoryPage,
  SiteConfigSaved,
  SiteConfigVersionText,
} from '@kiln/protocol';
import { createTwoFilesPatch } from 'diff';
import { ApiError } from '../../api-error.ts';
import type { Database, Executable, Transaction } from '../../database/index.ts';
import type { SealedTexts } from '../secrets/index.ts';
import { setKey, unsetKey } from './edit-text.ts';
import { type HiddenConfig, hideSecrets, revealSecrets } from './hidden-secrets.ts';
import { parseSiteConfig, SiteConfigError, unknownKey } from './parse.ts';
import { siteConfigKeys } from './schema.ts';
import { keepConfig, readConfig } from './sealed-config.ts';
import {
  findVersion,
  insertVersion,
  latestVersion,
  listVersions,
  lockVersions,
  type NewVersion,
  type StoredVersion,
  withoutText,
} from './store.ts';

/**
 * The versions of a configuration that is in the database. Changes are made one after the other, are in force in this
 * process when they resolve, and in the others a moment later.
 */
export interface SiteConfigHistory {
  /**
   * Saves a text. Marks in it stand for the secrets of the version that was edited.
   * @throws ApiError 400 `invalid_site_config` with lines, 409 `site_config_changed` when `baseVersion` is not the latest
   */
  save(userId: number, baseVersion: number, text: string): Promise<SiteConfigSaved>;
  /** Changes one key of the latest version; undefined takes it out. @throws ApiError 400 `invalid_site_config` */
  set(userId: number, key: string, value: unknown): Promise<SiteConfigSaved>;
  /**
   * Makes a new version like an earlier one, its secrets included.
   * @throws ApiError 400 `invalid_site_config`, 404 `unknown_version`
   */
  rollBack(userId: number, version: number): Promise<SiteConfigSaved>;
  /** Newest first. */
  list(page: { first: number; before: number | undefined }): Promise<SiteConfigHistoryPage>;
  /** @throws ApiError 404 `unknown_version` */
  read(version: number): Promise<SiteConfigVersionText>;
  /** @throws ApiError 404 `unknown_version` */
  diff(from: number, to: number): Promise<SiteConfigDiff>;
}

export interface HistoryOptions {
  database: Database;
  sealedTexts: SealedTexts;
  /** Puts a version that was just saved into force. */
  applied(): Promise<void>;
}

/** A change of the latest version. */
type Change = (
  latest: StoredVersion & HiddenConfig,
  transaction: Transaction,
) => HiddenConfig | Promise<HiddenConfig>;

export function createHistory({ database, sealedTexts, applied }: HistoryOptions): SiteConfigHistory {
  async function change(reason: Omit<NewVersion, 'textId'>, edit: Change): Promise<SiteConfigSaved> {
    const saved = await database.transaction(async (transaction) => {
      await lockVersions(transaction);
      const latest = await withText(transaction, await latestVersion(transaction));
      const edited = await edit(latest, transaction);
      const next = checked(edited);
      if (next.text === latest.text) return { latest: withoutText(latest), changed: false };
      const textId = await keepConfig(sealedTexts, transaction, next);
      return { latest: withoutText(await insertVersion(transaction, { ...reason, textId })), changed: true };
    });
    await applied();
    return saved;
  }

  async function withText(
    executable: Executable,
    stored: StoredVersion | undefined,
  ): Promise<StoredVersion & HiddenConfig> {
    if (!stored) throw new ApiError(404, 'unknown_version', 'There is no such version', versionHint);
    return { ...stored, ...(await readConfig(sealedTexts, executable, stored.textId)) };
  }

  async function find(version: number, executable: Executable = database) {
    return withText(executable, await findVersion(executable, version));
  }

  return {
    save: (userId, baseVersion, text) =>
      change({ cause: 'edit', userId }, (latest) => {
        if (latest.version !== baseVersion) throw changedMeanwhile(baseVersion, latest);
        return { text: text.replace(/^\uFEFF/, ''), secrets: latest.secrets };
      }),

    async set(userId, key, value) {
      if (!siteConfigKeys.includes(key)) {
        throw new ApiError(
          400,
          'invalid_site_config',
          `The site configuration has no such key: ${unknownKey(key)}`,
        );
      }
      return change({ cause: 'edit', userId }, ({ text, secrets }) => ({
        text: value === undefined ? unsetKey(text, key) : setKey(text, key, value),
        secrets,
      }));
    },

    rollBack: (userId, version) =>
      change({ cause: 'rollback', restoredVersion: version, userId }, (_, transaction) =>
        find(version, transaction),
      ),

    list: (page) => listVersions(database, page),

    async read(version) {
      const { text, secrets: _, ...stored } = await find(version);
      return { ...withoutText(stored), text };
    },

    async diff(from, to) {
      const [before, after] = await Promise.all([find(from), find(to)]);
      const name = ({ version }: StoredVersion) => `version ${version}`;
      return {
        from,
        to,
        diff:
          before.text === after.text
            ? ''
            : createTwoFilesPatch(name(before), name(after), before.text, after.text, '', '', {
                context: 3,
                headerOptions: { includeIndex: false, includeUnderline: false, includeFileHeaders: true },
              }),
      };
    },
  };
}

const versionHint = 'kiln config history lists them.';

/** @throws ApiError 400 `invalid_site_config` */
function checked(edited: HiddenConfig): HiddenConfig {
  try {
    parseSiteConfig(revealSecrets(edited), 'site configuration');
  } catch (error) {
    if (!(error instanceof SiteConfigError)) throw error;
    const lines = error.mistakes.map((mistake) => `\n  line ${mistake}`).join('');
    throw new ApiError(400, 'invalid_site_config', `The site configuration is not valid:${lines}`);
  }
  return hideSecrets(edited.text, edited.secrets);
}

function changedMeanwhile(baseVersion: number, { version, user, createdAt }: StoredVersion): ApiError {
  return new ApiError(
    409,
    'site_config_changed',
    `Version ${baseVersion} is not the latest any more: ${user ?? 'somebody'} made version ${version} at ${createdAt}`,
    `kiln config diff ${baseVersion} shows what changed. Edit the latest version.`,
  );
}
