import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { type Manifest, manifestSchema } from './manifest.ts';
import { recipeDigest } from './recipe.ts';

/** What a VM is booted from. */
export interface Guest {
  digest: string;
  /** Of the kernel in it, such as `6.1.0-56-cloud-amd64`. */
  kernelVersion: string;
  kernelPath: string;
  initrdPath: string;
  /** squashfs */
  rootPath: string;
  kernelArguments: readonly string[];
}

export interface InstalledGuest extends Guest {
  directory: string;
  manifest: Manifest;
}

export const fileNames = {
  kernel: 'vmlinuz',
  initrd: 'initrd',
  root: 'root.squashfs',
  manifest: 'manifest.json',
} as const;

/** Chosen for a fast boot; a panic ends the VM (the VMM must not reboot it: `-no-reboot`). */
const kernelArguments: readonly string[] = [
  'console=ttyS0',
  'quiet',
  'loglevel=3',
  'panic=-1',
  // The test counts ticks for a moment, and a busy machine that emulates the timer delivers too few.
  'no_timer_check',
  'oops=panic',
  'reboot=k',
  'random.trust_cpu=on',
  'audit=0',
  'apparmor=0',
  'selinux=0',
  'cgroup_no_v1=all',
  // The devices of a keyboard controller are probed for half a second otherwise.
  'i8042.noaux',
  'i8042.nomux',
  'i8042.dumbkbd',
  '8250.nr_uarts=1',
];

export function guestsDirectory(dataDirectory: string): string {
  return path.join(dataDirectory, 'guest');
}

/** The newest complete build of this version of Kiln, or undefined. */
export async function newestGuest(dataDirectory: string): Promise<InstalledGuest | undefined> {
  const parent = guestsDirectory(dataDirectory);
  const recipe = await recipeDigest();
  let newest: { guest: InstalledGuest; builtAt: number } | undefined;
  for (const name of await directoryNames(parent)) {
    const directory = path.join(parent, name);
    const manifest = await readManifest(path.join(directory, fileNames.manifest));
    if (manifest?.recipe !== recipe) continue;
    const builtAt = (await stat(path.join(directory, fileNames.manifest))).mtimeMs;
    if (newest !== undefined && newest.builtAt >= builtAt) continue;
    newest = { guest: guestIn(directory, manifest), builtAt };
  }
  return newest?.guest;
}

function guestIn(directory: string, manifest: Manifest): InstalledGuest {
  return {
    directory,
    manifest,
    kernelVersion: manifest.kernel.version,
    digest: path.basename(directory),
    kernelPath: path.join(directory, fileNames.kernel),
    initrdPath: path.join(directory, fileNames.initrd),
    rootPath: path.join(directory, fileNames.root),
    kernelArguments,
  };
}

/** Builds in progress have names with a dot and are none yet. */
export async function directoryNames(parent: string): Promise<string[]> {
  try {
    return (await readdir(parent)).filter((name) => /^[0-9a-f]{32}$/.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function readManifest(file: string): Promise<Manifest | undefined> {
  try {
    return manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    // Removed meanwhile, or of a version that wrote it otherwise: a new build mends both.
    return undefined;
  }
}
