import { existsSync } from 'node:fs';
import { copyFile, glob, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { DebianPackage, PackageArchive } from './archive.ts';
import { runProgram } from './programs.ts';
import { guestFile } from './recipe.ts';

// perl-base runs the agent, crun and tini run steps, iproute2 sets up the network, busybox is everything else.
const wanted = ['base-files', 'perl-base', 'crun', 'tini', 'iproute2', 'busybox-static'];
// Needed to install packages only, which nobody does in the guest.
const leftOut = new Set(['dpkg', 'tar', 'debconf', 'mawk', 'gcc-12-base', 'libcap2-bin']);
const pruned = [
  'usr/share/{doc,man,locale,info,lintian,bug,bash-completion,perl5,common-licenses,base-files,initramfs-tools}',
  'usr/{include,games,src}',
  'usr/lib/x86_64-linux-gnu/{gconv,*.a,pkgconfig}',
  'usr/lib/valgrind',
  'var/{cache,backups,mail,spool,local,opt,log}',
  'etc/{apt,cron.daily,logrotate.d,default,init.d,update-motd.d,motd,issue,issue.net}',
];

const files: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/hostname': 'kiln\n',
  'etc/hosts': '127.0.0.1 localhost kiln\n',
  'etc/resolv.conf': '',
  'etc/machine-id': '',
};
const directories = ['proc', 'sys', 'dev', 'run', 'tmp', 'work', 'root', 'kiln', 'etc', 'bin', 'mnt', 'sbin'];

/**
 * Makes the read-only root of every VM: packages unpacked as they are, no script of theirs is ever run.
 * @param directory for what is unpacked; the caller removes it
 * @param target where the squashfs is written
 */
export async function buildRootImage(
  archive: PackageArchive,
  directory: string,
  target: string,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<DebianPackage[]> {
  progress(`downloading ${wanted.join(', ')} and what they need`);
  const packages = (await archive.downloadClosure(wanted)).filter(({ name }) => !leftOut.has(name));
  const root = path.join(directory, 'root');
  progress(`unpacking ${packages.length} packages`);
  for (const one of packages)
    await runProgram('dpkg-deb', ['-x', one.path, root], { signal, debianPackage: 'dpkg' });
  for await (const found of glob(pruned, { cwd: root }))
    await rm(path.join(root, found), { recursive: true, force: true });
  for (const name of directories) await mkdir(path.join(root, name), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await rm(path.join(root, name), { force: true });
    await writeFile(path.join(root, name), text);
  }
  for (const name of ['agent.pl', 'init.pl'] as const)
    await copyFile(guestFile(name), path.join(root, 'kiln', name));
  await linkBusybox(root, signal);
  progress('making the root image');
  // Not compressed: it is read from the page cache of the host, and unpacking would cost the guest time at each boot.
  const uncompressed = ['-noI', '-noId', '-noD', '-noF', '-noX'];
  const reproducible = ['-all-root', '-all-time', '0', '-mkfs-time', '0', '-no-xattrs'];
  await runProgram(
    'mksquashfs',
    [root, target, '-noappend', '-no-progress', '-quiet', ...uncompressed, ...reproducible],
    { signal, debianPackage: 'squashfs-tools' },
  );
  return packages;
}

/** Every program of busybox that no package brings. */
async function linkBusybox(root: string, signal: AbortSignal): Promise<void> {
  const busybox = path.join(root, 'bin/busybox');
  const listed = await runProgram(busybox, ['--list-full'], { signal, debianPackage: 'busybox-static' });
  for (const applet of listed.split('\n').filter(Boolean)) {
    const link = path.join(root, applet);
    const program = path.basename(applet);
    if (['bin', 'sbin', 'usr/bin', 'usr/sbin'].some((folder) => existsSync(path.join(root, folder, program))))
      continue;
    await mkdir(path.dirname(link), { recursive: true });
    await symlink('/bin/busybox', link);
  }
}
