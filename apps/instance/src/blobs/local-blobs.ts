import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BlobRange, Blobs } from './blobs.ts';

/** A file that nobody has written to for so long belongs to a process that was killed. */
const abandonedAfterMilliseconds = 3_600_000;

/**
 * Blobs as files below a directory, which several instances may share. A blob appears by a rename, after its bytes
 * are on the disk.
 * @param directory made when it is missing; nothing but instances may write to it
 */
export async function openLocalBlobs(directory: string): Promise<Blobs> {
  const unfinished = join(directory, 'unfinished');
  await mkdir(unfinished, { recursive: true, mode: 0o700 });
  await removeAbandoned(unfinished);

  return {
    async put(key, body) {
      const path = join(directory, 'blobs', ...components(key));
      const temporary = join(unfinished, randomUUID());
      try {
        const sizeBytes = await write(temporary, body);
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await rename(temporary, path);
        await syncDirectory(dirname(path));
        return { sizeBytes };
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    },

    async get(key, range) {
      const path = join(directory, 'blobs', ...components(key));
      const found = await unlessMissing(stat(path));
      return found && { sizeBytes: found.size, body: read(path, range) };
    },

    async delete(key) {
      await unlessMissing(unlink(join(directory, 'blobs', ...components(key))));
    },
  };
}

async function removeAbandoned(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const file = await unlessMissing(stat(path));
    if (file && file.mtimeMs < Date.now() - abandonedAfterMilliseconds) await rm(path, { force: true });
  }
}

/** Opens the file when reading begins, so that a blob nobody reads leaves nothing open. */
async function* read(path: string, range: BlobRange | undefined): AsyncGenerator<Uint8Array> {
  if (range && range.end <= range.start) return;
  // The end of a read stream is inclusive.
  const bounds = range ? { start: range.start, end: range.end - 1 } : {};
  yield* createReadStream(path, { ...bounds, highWaterMark: 256 * 1024 });
}

async function write(path: string, body: AsyncIterable<Uint8Array>): Promise<number> {
  await using file = await open(path, 'wx', 0o600);
  let sizeBytes = 0;
  for await (const chunk of body) {
    // Unlike write, this goes on until all of it is written.
    await file.writeFile(chunk);
    sizeBytes += chunk.length;
  }
  await file.sync();
  return sizeBytes;
}

/** Makes the rename itself durable. */
async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}

function components(key: string): string[] {
  const parts = key.split('/');
  if (!parts.every((part) => /^[A-Za-z0-9._-]{1,200}$/.test(part) && part !== '.' && part !== '..')) {
    throw new RangeError(`${JSON.stringify(key)} is not a blob key`);
  }
  return parts;
}

async function unlessMissing<Value>(operation: Promise<Value>): Promise<Value | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
