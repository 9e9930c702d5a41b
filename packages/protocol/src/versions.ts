/** The Sourcegraph release whose wire protocol Kiln speaks; sent wherever that protocol carries a version. */
export const compatVersion = '6.10.0';
/** Kiln's own version, sent as `kilnVersion` and in the `Kiln-Version` header. */
export const kilnVersion = '0.1.0';

interface Semver {
  major: number;
  minor: number;
  patch: number;
  prerelease: string;
}

/** Build stamps of development builds: `<digits>_<date>_[<major>.<minor>-]<hash>[_patch]`. */
const buildStamp = /^\d+_(\d{4}-\d{2}-\d{2})_(?:\d+\.\d+-)?[a-z0-9]{7,}(?:_patch)?$/;
/** Build stamps of insiders builds: as above with a prefix of word characters and hyphens (so no dot). */
const insidersStamp = /^[\w-]+_(\d{4}-\d{2}-\d{2})_(?:\d+\.\d+-)?[a-z0-9]{7,}(?:_patch)?$/;
/** Build stamps of release branches, which carry the release they will become: `5.1_231128_2023-06-27_5.0-7ac9ba347103`. */
const releaseStamp = /_\d{4}-\d{2}-\d{2}_(\d+\.\d+)-[a-z0-9]{7,}(?:_patch)?$/;
const devVersions: ReadonlySet<string> = new Set(['dev', '0.0.0+dev']);
const firstStampWithDocumentV2 = '2022-11-24';

/** A version string that is no semantic version; the message is the reference's own. */
export class InvalidVersionError extends Error {
  override readonly name = 'InvalidVersionError';
}

/**
 * Whether an executor of this version reads job documents of version 2 (from the reference): 4.3.0 and its
 * pre-releases and everything later, development builds, build stamps from 2022-11-24 on. `''` means version 1.
 * @throws InvalidVersionError
 */
export function readsDocumentV2(executorVersion: string): boolean {
  if (executorVersion === '') return false;
  if (devVersions.has(executorVersion)) return true;
  const stamp = buildStamp.exec(executorVersion)?.[1];
  if (stamp !== undefined) return stamp >= firstStampWithDocumentV2;
  const version = parseSemver(executorVersion);
  if (!version) {
    throw new InvalidVersionError(
      `failed to check version ${JSON.stringify(executorVersion)}: Invalid Semantic Version`,
    );
  }
  return version.major > 4 || (version.major === 4 && version.minor >= 3);
}

export type Compatibility = 'OUTDATED' | 'UP_TO_DATE' | 'VERSION_AHEAD';

/**
 * How an executor's version compares with the instance's (from the reference). Shown, never enforced.
 * `null` where the two cannot be compared (development builds, an insiders build beside a release).
 * @throws InvalidVersionError
 */
export function compareVersions(executorVersion: string, instanceVersion: string): Compatibility | null {
  if (devVersions.has(executorVersion) || devVersions.has(instanceVersion)) return null;
  const executorDate = insidersStamp.exec(executorVersion)?.[1];
  const instanceDate = insidersStamp.exec(instanceVersion)?.[1];
  if (executorDate !== undefined || instanceDate !== undefined) {
    if (executorDate === undefined || instanceDate === undefined) return null;
    const apartDays = (Date.parse(executorDate) - Date.parse(instanceDate)) / 86_400_000;
    return apartDays > 35 ? 'VERSION_AHEAD' : apartDays < -35 ? 'OUTDATED' : 'UP_TO_DATE';
  }
  const executor = parseRelease(executorVersion, 'executor version');
  const instance = parseRelease(instanceVersion, 'sourcegraph version');
  if (compareSemver(instance, nextMinor(executor)) > 0) return 'OUTDATED';
  return compareSemver(executor, nextMinor(instance)) > 0 ? 'VERSION_AHEAD' : 'UP_TO_DATE';
}

function parseRelease(text: string, what: string): Semver {
  const version = parseSemver(releaseStamp.exec(text)?.[1] ?? text);
  if (!version)
    throw new InvalidVersionError(
      `failed to parse ${what} ${JSON.stringify(text)}: Invalid Semantic Version`,
    );
  return version;
}

/** Accepts what the reference's library accepts: an optional `v`, and missing minor and patch numbers. */
function parseSemver(text: string): Semver | undefined {
  const match = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/.exec(text);
  if (!match) return undefined;
  return {
    major: Number(match[1]),
    minor: Number(match[2] ?? 0),
    patch: Number(match[3] ?? 0),
    prerelease: match[4] ?? '',
  };
}

function nextMinor(version: Semver): Semver {
  return { major: version.major, minor: version.minor + 1, patch: 0, prerelease: '' };
}

/** A pre-release sorts before its release; two pre-releases of one release count as equal, which is enough here. */
function compareSemver(a: Semver, b: Semver): number {
  return (
    a.major - b.major ||
    a.minor - b.minor ||
    a.patch - b.patch ||
    Number(a.prerelease === '') - Number(b.prerelease === '')
  );
}
