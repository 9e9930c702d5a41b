import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes that a directory's files take up on disk. Files that vanish meanwhile count nothing; links are not followed. */
export async function directorySize(directory: string): Promise<number> {
  let bytes = 0;
  const waiting = [directory];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const entries = await opendir(next).catch(ignoreMissing);
    if (!entries) continue;
    for await (const entry of entries) {
      const path = join(next, entry.name);
      if (entry.isDirectory()) {
        waiting.push(path);
        continue;
      }
      const found = await lstat(path).catch(ignoreMissing);
      // Tiny files (a flood of refs) cost whole blocks; what is not yet written to disk may have no blocks.
      if (found) bytes += Math.max(found.size, found.blocks * 512);
    }
  }
  return bytes;
}

function ignoreMissing(err: NodeJS.ErrnoException): undefined {
  if (err.code !== 'ENOENT') throw err;
}
