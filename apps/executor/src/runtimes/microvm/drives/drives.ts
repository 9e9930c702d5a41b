import { constants, copyFile, link, open, stat } from 'node:fs/promises';
import { formatByteSize } from '@kiln/protocol';
import { HostCommandError, hostCommand } from '../../host-command.ts';
import { SandboxError } from '../../runtime.ts';

/** Less holds no file system worth its name. */
const leastBytes = 16 * 1024 ** 2;

/**
 * Makes a drive with an empty ext4 file system. Nothing on it outlives the VM, so it has no journal.
 * @param path of the image: a sparse file, closed to others
 */
export async function makeEmptyDrive(path: string, bytes: number, signal: AbortSignal): Promise<void> {
  await makeFileSystem(path, bytes, [], signal);
}

/**
 * Makes a drive that holds a copy of a directory, owners and modes kept. No file system of a guest is ever mounted on
 * this machine, before or after.
 * @throws SandboxError when the directory does not fit
 */
export async function makeWorkspaceDrive(
  path: string,
  bytes: number,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await makeFileSystem(path, bytes, ['-d', directory], signal);
  } catch (error) {
    if (!(error instanceof HostCommandError) || !/could not allocate|no space|too small/i.test(error.message))
      throw error;
    throw new SandboxError(
      `the workspace does not fit the job's disk of ${formatByteSize(bytes)}: ask for more disk, or clone less (shallow or sparse)`,
      { infrastructure: false, cause: error },
    );
  }
}

const readableByAll = 0o444;

/**
 * Gives a VM a file that many share, under a name in its own directory: without a copy where the file system allows it and the VM's
 * user may read the file.
 */
export async function shareFile(source: string, path: string): Promise<void> {
  if (((await stat(source)).mode & readableByAll) === readableByAll) {
    try {
      await link(source, path);
      return;
    } catch (error) {
      const code: unknown = Reflect.get(Object(error), 'code');
      if (code !== 'EXDEV' && code !== 'EMLINK') throw error;
    }
  }
  // The directory is the VM's user's: nothing that was put there is written to, nor a link followed.
  await copyFile(source, path, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  const copy = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { nlink } = await copy.stat();
    if (nlink !== 1) throw new Error(`${path} was exchanged while it was made`);
    await copy.chmod(readableByAll);
  } finally {
    await copy.close();
  }
}

async function makeFileSystem(
  path: string,
  bytes: number,
  options: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(Math.max(bytes, leastBytes));
  } finally {
    await file.close();
  }
  await hostCommand(
    [
      'mkfs.ext4',
      '-q',
      '-F',
      ...['-m', '0', '-O', '^has_journal'],
      // The file is all zeros: inode tables need not be written, now or by the guest.
      ...['-E', 'root_owner=0:0,lazy_itable_init=1,assume_storage_prezeroed=1,nodiscard'],
      ...options,
      path,
    ],
    { signal },
  );
}
