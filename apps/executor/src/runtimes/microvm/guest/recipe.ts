import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** Files of ours that become part of the guest. */
const guestFiles = ['agent.pl', 'init.pl', 'initramfs-init.sh'] as const;

// Raised when a change of the builder's own code changes what it makes.
const builderRevision = 2;

export function guestFile(name: (typeof guestFiles)[number]): string {
  return path.join(import.meta.dirname, 'files', name);
}

/**
 * Stands for all that Kiln itself puts into a guest. A guest of another recipe speaks another version of the control
 * protocol, so it is as good as none.
 */
export async function recipeDigest(): Promise<string> {
  const hash = createHash('sha256').update(`${builderRevision}\n`);
  for (const name of guestFiles) hash.update(`${name}\n`).update(await readFile(guestFile(name)));
  return hash.digest('hex');
}
