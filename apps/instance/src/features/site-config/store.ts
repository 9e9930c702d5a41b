import type { SiteConfigHistoryPage, SiteConfigVersion } from '@kiln/protocol';
import type { Executable, Transaction } from '../../database/index.ts';

/** What became of the configuration and why; its text is kept elsewhere, encrypted. */
export interface NewVersion {
  textId: string;
  cause: SiteConfigVersion['cause'];
  restoredVersion?: number | undefined;
  /** Undefined: the instance itself. */
  userId?: number | undefined;
}

export type StoredVersion = SiteConfigVersion & { textId: string };

/** Notified of each new version; the payload is its number. */
export const channel = 'kiln_site_config';

const selectVersions = `
  select v.version, v.cause, v.restored_version as "restoredVersion", n.name as user, v.created_at as "createdAt",
    v.text_id as "textId"
  from site_config_versions v
  left join users on users.id = v.user_id
  left join namespaces n on n.id = users.namespace_id`;

type Row = Omit<StoredVersion, 'createdAt'> & { createdAt: Date };

/** Keeps others who would make a version waiting until the transaction ends; readers are not kept. */
export async function lockVersions(transaction: Transaction): Promise<void> {
  await transaction.query('lock table site_config_versions in share row exclusive mode');
}

/** Undefined before the first one. */
export async function latestVersion(executable: Executable): Promise<StoredVersion | undefined> {
  const [row] = await executable.query<Row>(`${selectVersions} order by v.version desc limit 1`);
  return row && versionOf(row);
}

export async function findVersion(
  executable: Executable,
  version: number,
): Promise<StoredVersion | undefined> {
  const [row] = await executable.query<Row>(`${selectVersions} where v.version = $1`, [version]);
  return row && versionOf(row);
}

/** Newest first. @param before the `nextCursor` of the page before */
export async function listVersions(
  executable: Executable,
  { first, before }: { first: number; before: number | undefined },
): Promise<SiteConfigHistoryPage> {
  const rows = await executable.query<Row>(
    `${selectVersions} where $1::int is null or v.version < $1 order by v.version desc limit $2`,
    [before ?? null, first + 1],
  );
  const page = rows.slice(0, first).map(versionOf).map(withoutText);
  const last = page.at(-1);
  return { versions: page, nextCursor: rows.length > first && last ? String(last.version) : null };
}

/** Adds the next version, behind `lockVersions`, and tells every instance when it is committed. */
export async function insertVersion(
  transaction: Transaction,
  { textId, cause, restoredVersion, userId }: NewVersion,
): Promise<StoredVersion> {
  const [row] = await transaction.query<{ version: number }>(
    `insert into site_config_versions (version, text_id, cause, restored_version, user_id)
     select coalesce(max(version), 0) + 1, $1, $2, $3, $4 from site_config_versions
     returning version`,
    [textId, cause, restoredVersion ?? null, userId ?? null],
  );
  const stored = row && (await findVersion(transaction, row.version));
  if (!stored) throw new Error('a new version of the site configuration gave no row');
  await transaction.query('select pg_notify($1, $2)', [channel, String(stored.version)]);
  return stored;
}

/** For people. */
export function withoutText({ textId: _, ...version }: StoredVersion): SiteConfigVersion {
  return version;
}

function versionOf({ createdAt, ...row }: Row): StoredVersion {
  return { ...row, createdAt: createdAt.toISOString() };
}
