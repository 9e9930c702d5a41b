import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeVmlinux } from './vmlinux.ts';

const prefix = 'vmlinux-';

/**
 * The kernel of a guest as Firecracker boots it, unpacked once for each guest. Those of others go: VMs have links of their own.
 * @param guest digest of the guest; undefined for a kernel that may have changed since
 * @returns its path below the directory
 * @throws GuestBuildError when it cannot be unpacked
 */
export async function unpackedKernel(
  directory: string,
  kernelPath: string,
  guest: string | undefined,
): Promise<string> {
  const name = `${prefix}${guest ?? 'own'}`;
  const path = join(directory, name);
  if (guest !== undefined && (await isFile(path))) return path;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const others = (await readdir(directory)).filter((one) => one.startsWith(prefix) && !one.startsWith(name));
  for (const other of others) await rm(join(directory, other), { force: true });
  await writeVmlinux(kernelPath, path);
  return path;
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}
