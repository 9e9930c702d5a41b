import { execFile } from 'node:child_process';
import { realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { hasHole } from '../../../known-holes.ts';

const run = promisify(execFile);
const seconds = 20;

/** Real paths of both programs, and what they say of themselves: `1.16.1`. */
export interface FirecrackerPrograms {
  firecracker: string;
  jailer: string;
  version: string;
}

/** A reason not to use Firecracker, with what to do about it. */
export interface Unusable {
  because: string;
  fix: string;
  /** It is not installed at all. */
  missing?: true;
}

const directories = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin'];
/** CVE-2026-5747 (a guest writes past a queue) and CVE-2026-1386 (the jailer follows a link). */
const mended = [
  [1, 14, 4],
  [1, 15, 1],
  [1, 16, 1],
] as const;
const upgrade =
  'Install Firecracker 1.16.1 or newer with the jailer of the same release, below /usr/local/bin.';
/** Bits of a mode by which others than its owner may write. */
const writableByOthers = 0o022;

/**
 * Looks for Firecracker and its jailer.
 * @param path directories to look in
 * @returns why they must not be used, as the case may be
 */
export async function findFirecracker(
  path: readonly string[] = directories,
): Promise<FirecrackerPrograms | Unusable> {
  const [firecracker, jailer] = [await find('firecracker', path), await find('jailer', path)];
  if (firecracker === undefined || jailer === undefined)
    return {
      because: `${firecracker === undefined ? 'Firecracker' : "Firecracker's jailer"} is not installed in ${path.join(', ')}`,
      fix: upgrade,
      ...(firecracker === undefined ? { missing: true } : {}),
    };
  const [version, jailerVersion] = [await versionOf(firecracker), await versionOf(jailer)];
  if (version === undefined) return { because: `${firecracker} does not say its version`, fix: upgrade };
  if (version !== jailerVersion)
    return {
      because: `Firecracker is of version ${version} and its jailer of ${jailerVersion ?? 'an unknown one'}`,
      fix: upgrade,
    };
  if (hasHole(version, mended))
    return {
      because: `Firecracker ${version} has known holes (CVE-2026-5747, CVE-2026-1386)`,
      fix: upgrade,
    };
  const open = (await openPlaces([firecracker, jailer]))[0];
  if (open !== undefined)
    return {
      because: `others than root can write to ${open}, from where it is started as root`,
      fix: `Take that away: chown root ${open}; chmod go-w ${open}`,
    };
  return { firecracker, jailer, version };
}

/** @param version such as `1.16.1` */
export function limitsSerial(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 1 || minor >= 16;
}

async function find(name: string, path: readonly string[]): Promise<string | undefined> {
  for (const directory of path) {
    const found = await realpath(join(directory, name)).catch(() => undefined);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function versionOf(program: string): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, ['--version'], { timeout: seconds * 1000 });
    return /^\w+ v(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

/** Of files and the directories that they lie in, those that others than root may change. */
async function openPlaces(files: readonly string[]): Promise<string[]> {
  const places = new Set<string>();
  for (const file of files)
    for (let place = file; !places.has(place); place = dirname(place)) places.add(place);
  const open: string[] = [];
  for (const place of places) {
    const { uid, mode } = await stat(place);
    if (uid !== 0 || (mode & writableByOthers) !== 0) open.push(place);
  }
  return open;
}
