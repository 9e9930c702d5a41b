import { randomBytes } from 'node:crypto';
import {
  chmod,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isLeftBehind, ownerToken } from './owners.ts';

/** Where an image came from, and what proved that it may be given to jobs that name it so. */
const sourceSchema = z.object({
  /** With its registry: `docker.io/library/alpine`. */
  repository: z.string(),
  /** As that repository knows it: of the manifest, and of the list of platforms that led to it. */
  digests: z.array(z.string()),
  /** References under which it was got, for people. */
  names: z.array(z.string()),
});
export type ImageSource = z.infer<typeof sourceSchema>;

const recordSchema = z.object({
  /** Digest of the config: equal for equal contents, whatever they are packed with. */
  imageId: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  config: z.object({ env: z.array(z.string()), user: z.string(), workingDir: z.string() }),
  createdAt: z.iso.datetime(),
  sources: z.array(sourceSchema),
  /** Names that were loaded from an archive, in no registry. */
  localNames: z.array(z.string()),
});
export type ImageRecord = z.infer<typeof recordSchema>;

export interface ShelvedImage extends ImageRecord {
  driveBytes: number;
  lastUsedAt: Date;
  /** By jobs that run: such an image is not removed. */
  isHeld: boolean;
}

/**
 * The directory of drives: `images/<id>/{drive,record.json}`, each put there whole; `holds/`, second links to drives that
 * are in use; `partial/`, what is being made; `locks/`.
 */
export interface Shelf {
  all(): Promise<ShelvedImage[]>;
  get(imageId: string): Promise<ShelvedImage | undefined>;
  /** A directory for what is being made; it goes when it is disposed. */
  workplace(): Promise<{ path: string } & AsyncDisposable>;
  /** Puts a finished drive on the shelf; the caller has the image's lock. */
  add(drivePath: string, record: ImageRecord): Promise<void>;
  /** Replaces what is known of an image; the caller has its lock. */
  update(record: ImageRecord): Promise<void>;
  /** A link of its own to the drive, which stays whole while it is there; undefined when there is no such image. */
  hold(imageId: string): Promise<({ path: string } & AsyncDisposable) | undefined>;
  /** The caller has the image's lock. */
  remove(imageId: string): Promise<void>;
  lockPath(imageId: string): string;
  /** Removes what processes that are gone left: what they were making, what they held. */
  sweep(): Promise<void>;
}

export async function openShelf(directory: string): Promise<Shelf> {
  // Images of private repositories are nobody's to read by path.
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const [images, holds, partial, locks] = ['images', 'holds', 'partial', 'locks'].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  for (const path of [images, holds, partial, locks]) await mkdir(path, { recursive: true, mode: 0o700 });
  const owner = await ownerToken();
  const placeOf = (imageId: string): string => join(images, imageId.replace('sha256:', ''));
  const newName = (): string => `${owner}.${randomBytes(6).toString('hex')}`;

  async function get(imageId: string): Promise<ShelvedImage | undefined> {
    const place = placeOf(imageId);
    try {
      const text = await readFile(join(place, 'record.json'), 'utf8');
      const { mtime } = await stat(join(place, 'record.json'));
      const drive = await stat(join(place, 'drive'));
      const record = recordSchema.safeParse(JSON.parse(text));
      if (!record.success || record.data.imageId !== imageId) return undefined;
      return { ...record.data, driveBytes: drive.size, lastUsedAt: mtime, isHeld: drive.nlink > 1 };
    } catch (error) {
      if (isMissing(error) || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async function writeRecord(place: string, record: ImageRecord): Promise<void> {
    const path = join(place, `${newName()}.json`);
    await writeFile(path, JSON.stringify(record), { mode: 0o600, flush: true });
    await rename(path, join(place, 'record.json'));
  }

  async function remove(imageId: string): Promise<void> {
    // Gone at once for everybody, and then piece by piece.
    const grave = join(partial, newName());
    try {
      await rename(placeOf(imageId), grave);
    } catch (error) {
      if (isMissing(error)) return;
      throw error;
    }
    await rm(grave, { recursive: true, force: true });
  }

  return {
    get,
    remove,
    async all() {
      const names = (await readdir(images)).filter((name) => /^[0-9a-f]{64}$/.test(name));
      const found = await Promise.all(names.map((name) => get(`sha256:${name}`)));
      return found.filter((image) => image !== undefined);
    },
    async workplace() {
      const path = join(partial, newName());
      await mkdir(path, { mode: 0o700 });
      return {
        path,
        [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
      };
    },
    async add(drivePath, record) {
      const made = join(partial, newName());
      await mkdir(made, { mode: 0o700 });
      await rename(drivePath, join(made, 'drive'));
      await writeRecord(made, record);
      // What could not be read as an image is in its way.
      await remove(record.imageId);
      await rename(made, placeOf(record.imageId));
    },
    update: (record) => writeRecord(placeOf(record.imageId), record),
    async hold(imageId) {
      const path = join(holds, newName());
      try {
        await link(join(placeOf(imageId), 'drive'), path);
        const now = new Date();
        await utimes(join(placeOf(imageId), 'record.json'), now, now);
      } catch (error) {
        if (isMissing(error)) {
          await rm(path, { force: true });
          return undefined;
        }
        throw error;
      }
      return { path, [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    },
    // Few files for any number of images; two images with one lock only wait for each other.
    lockPath: (imageId) => join(locks, imageId.slice('sha256:'.length, 'sha256:'.length + 2)),
    async sweep() {
      for (const path of [partial, holds])
        for (const name of await readdir(path)) {
          const left = join(path, name);
          if (!(await isLeftBehind(left, name))) continue;
          await (path === holds ? unlink(left) : rm(left, { recursive: true, force: true })).catch(
            unlessMissing,
          );
        }
    },
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, 'code') === 'ENOENT';
}

/** Another process sweeps too. */
function unlessMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}
