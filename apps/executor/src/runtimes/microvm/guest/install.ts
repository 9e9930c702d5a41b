import {
  chmod,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  utimes,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { openArchive } from './archive.ts';
import { takeLock } from './build-lock.ts';
import { fileNames, guestsDirectory, type InstalledGuest, newestGuest } from './installed.ts';
import { buildKernel } from './kernel.ts';
import { type Manifest, manifestDigest, manifestText, packageList, sha256 } from './manifest.ts';
import { buildingPrefix, removeOldBuilds, removeUnfinished } from './old-builds.ts';
import { recipeDigest } from './recipe.ts';
import { buildRootImage } from './root-image.ts';

export interface InstallOptions {
  dataDirectory: string;
  /** What is built anew; the other half is kept where there is one. `missing`: nothing where there is a guest. */
  what: 'kernel' | 'image' | 'all' | 'missing';
  progress(line: string): void;
  signal: AbortSignal;
}

/**
 * Builds the guest from Debian packages below `DATA_DIR/guest/DIGEST`. One build at a time; a guest is complete or not
 * there; older ones stay for the VMs that run from them.
 * @throws GuestBuildError
 */
export async function buildGuest({
  dataDirectory,
  what,
  progress,
  signal,
}: InstallOptions): Promise<InstalledGuest> {
  const parent = guestsDirectory(dataDirectory);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  await using _lock = await takeLock(
    path.join(parent, 'lock'),
    () => progress('waiting for another installation to end'),
    signal,
  );
  const before = await newestGuest(dataDirectory);
  if (before !== undefined && what === 'missing') return before;
  await removeUnfinished(parent);
  const temporary = await mkdtemp(path.join(parent, buildingPrefix));
  try {
    const digest = await buildInto(temporary, before, { dataDirectory, what, progress, signal });
    const directory = path.join(parent, digest);
    if (digest === before?.digest) {
      progress('nothing has changed');
    } else {
      await rm(directory, { recursive: true, force: true });
      await rename(path.join(temporary, 'guest'), directory);
    }
    const now = new Date();
    await utimes(path.join(directory, fileNames.manifest), now, now);
    await removeOldBuilds(parent, digest);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  const built = await newestGuest(dataDirectory);
  if (built === undefined) throw new Error(`the guest just built below ${parent} cannot be read back`);
  return built;
}

async function buildInto(
  temporary: string,
  before: InstalledGuest | undefined,
  { what, progress, signal }: InstallOptions,
): Promise<string> {
  const target = path.join(temporary, 'guest');
  await mkdir(target, { mode: 0o755 });
  progress('asking the package archive');
  const archive = await openArchive(path.join(temporary, 'apt'), signal);
  const kernel =
    before !== undefined && what === 'image'
      ? await keepKernel(before, target)
      : await newKernel(await buildKernel(archive, temporary, progress, signal), target);
  const rootPath = path.join(target, fileNames.root);
  let root: Manifest['root'];
  if (before !== undefined && what === 'kernel') {
    await linkOrCopy(before.rootPath, rootPath);
    root = before.manifest.root;
  } else {
    const packages = await buildRootImage(archive, temporary, rootPath, progress, signal);
    root = { sha256: sha256(await readFile(rootPath)), packages: packageList(packages) };
  }
  const manifest: Manifest = { recipe: await recipeDigest(), kernel, root };
  await writeFile(path.join(target, fileNames.manifest), manifestText(manifest));
  // Each VMM runs as a user of its own and reads them.
  for (const name of Object.values(fileNames)) await chmod(path.join(target, name), 0o644);
  await chmod(target, 0o755);
  return manifestDigest(manifest);
}

async function newKernel(
  built: Awaited<ReturnType<typeof buildKernel>>,
  target: string,
): Promise<Manifest['kernel']> {
  await writeFile(path.join(target, fileNames.kernel), built.vmlinuz);
  await writeFile(path.join(target, fileNames.initrd), built.initrd);
  return {
    version: built.version,
    sha256: sha256(built.vmlinuz),
    initrdSha256: sha256(built.initrd),
    packages: packageList(built.packages),
  };
}

async function keepKernel(before: InstalledGuest, target: string): Promise<Manifest['kernel']> {
  await linkOrCopy(before.kernelPath, path.join(target, fileNames.kernel));
  await linkOrCopy(before.initrdPath, path.join(target, fileNames.initrd));
  return before.manifest.kernel;
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to));
}
