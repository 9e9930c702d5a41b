import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { DebianPackage, PackageArchive } from './archive.ts';
import { GuestBuildError } from './guest-build-error.ts';
import { initramfs, initramfsModules } from './initramfs.ts';
import { readModules } from './kernel-modules.ts';
import { runProgram } from './programs.ts';
import { guestFile } from './recipe.ts';

// Made for virtual machines: small, and with the drivers of every VMM.
const kernelPackage = 'linux-image-cloud-amd64';

export interface BuiltKernel {
  version: string;
  vmlinuz: Buffer;
  initrd: Buffer;
  packages: DebianPackage[];
}

/** Takes the kernel from its package and makes the initramfs. @param directory for what is unpacked; the caller removes it */
export async function buildKernel(
  archive: PackageArchive,
  directory: string,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<BuiltKernel> {
  const needed = await archive.dependencies(kernelPackage);
  const image = needed.find((name) => /^linux-image-\d/.test(name));
  if (image === undefined)
    throw new GuestBuildError(`the archive has no package ${kernelPackage} that names a kernel`);
  progress(`downloading ${image}`);
  const packages = await archive.download([image, 'busybox-static']);
  const unpacked = path.join(directory, 'kernel');
  for (const one of packages)
    await runProgram('dpkg-deb', ['-x', one.path, unpacked], { signal, debianPackage: 'dpkg' });
  const kernel = (await readdir(path.join(unpacked, 'boot'))).find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new GuestBuildError(`the package ${image} holds no vmlinuz`);
  const version = kernel.slice('vmlinuz-'.length);
  progress(`making the initramfs for ${version}`);
  return {
    version,
    vmlinuz: await readFile(path.join(unpacked, 'boot', kernel)),
    initrd: initramfs({
      busybox: await readFile(path.join(unpacked, 'bin/busybox')),
      init: await readFile(guestFile('initramfs-init.sh'), 'utf8'),
      modules: await readModules(path.join(unpacked, 'lib/modules', version), initramfsModules),
    }),
    packages,
  };
}
