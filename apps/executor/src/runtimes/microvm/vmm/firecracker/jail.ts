import { link, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { VmSpec } from '../vmm.ts';
import { type DriveSlots, spareBytes, spareFile } from './drive-slots.ts';
import type { FirecrackerPrograms } from './programs.ts';
import { jailFiles } from './requests.ts';

/** Files it may have open; its own use is below a hundred. */
const mostOpenFiles = 2048;

/** What becomes the file system of a VM's Firecracker. The jailer chooses its place below the directory that it is given. */
export function jailRoot(directory: string, programs: FirecrackerPrograms): string {
  return join(directory, basename(programs.firecracker), jailId(directory), 'root');
}

/** Gives a new jail the VM's files, by links: they stay where they are, and nothing is copied. One of an earlier try goes. */
export async function fillJail(root: string, spec: VmSpec, slots: DriveSlots): Promise<void> {
  await rm(root, { recursive: true, force: true });
  await mkdir(root, { recursive: true, mode: 0o700 });
  await writeFile(join(root, spareFile), Buffer.alloc(spareBytes), { mode: 0o444 });
  const files = [spec.kernelFile, spec.initrdFile, ...slots.initial.map(({ file }) => file)];
  for (const file of new Set(files.filter((name) => name !== spareFile)))
    await link(join(spec.directory, file), join(root, file));
}

/**
 * The jailer's command line: a user and group of its own, a file system of its own, its filter of system calls as it is by default.
 * Network, process and IPC namespaces and the control group are those that it is started in.
 */
export async function jailerCommand(
  spec: VmSpec,
  slots: DriveSlots,
  programs: FirecrackerPrograms,
): Promise<string[]> {
  const sizes = await Promise.all(slots.initial.map(({ file }) => fileBytes(spec.directory, file)));
  return [
    programs.jailer,
    ...['--id', jailId(spec.directory)],
    ...['--exec-file', programs.firecracker],
    ...['--uid', String(spec.uid), '--gid', String(spec.uid)],
    ...['--chroot-base-dir', spec.directory],
    ...['--resource-limit', `no-file=${mostOpenFiles}`],
    // No file grows beyond the largest drive.
    ...['--resource-limit', `fsize=${Math.max(...sizes)}`],
    ...['--', '--api-sock', `/${jailFiles.api}`],
  ];
}

async function fileBytes(directory: string, file: string): Promise<number> {
  return file === spareFile ? spareBytes : (await stat(join(directory, file))).size;
}

/** Unique on this machine, and short enough for the paths of sockets. */
function jailId(directory: string): string {
  return basename(directory);
}
