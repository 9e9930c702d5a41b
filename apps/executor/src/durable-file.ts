import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Writes a file, closed to other users, as a whole: after a crash of the machine it is there entirely or not at all. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

/** As {@link writeWhole}; when this resolves, a crash of the machine takes the file away no more. Some 2 ms on an SSD. */
export async function writeDurably(path: string, text: string): Promise<void> {
  await writeWhole(path, text);
  await syncDirectory(dirname(path));
}

/** Names of files are in their directory, which is written on its own. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
