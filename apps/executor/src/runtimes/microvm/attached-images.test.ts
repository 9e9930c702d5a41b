import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { attachedImages } from './attached-images.ts';
import { type ImageStore, openImageStore } from './images/index.ts';

let directory: string;
const { signal } = new AbortController();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kiln-attached-'));
});
afterEach(() => rm(directory, { recursive: true }));

/** Each reference stands for an image of its own, but for what follows a colon. */
const store: ImageStore = {
  ...openImageStore({ directory: '', allowLocalImages: false, registryMirrorURLs: [], maxBytes: 0 }),
  resolve: async (reference) => ({
    digest: '',
    imageId: reference.split(':', 1)[0] ?? '',
    drivePath: join(directory, `of-${reference.split(':', 1)[0]}`),
    config: { env: [], user: '', workingDir: '' },
    [Symbol.asyncDispose]: async () => undefined,
  }),
};

const images = () => attachedImages(directory, store, {}, () => undefined);

test('gives the VM each image once, whatever it is called', async () => {
  for (const name of ['of-a', 'of-b']) await writeFile(join(directory, name), name);
  const attached = images();
  await Promise.all(['a', 'b', 'a:latest'].map((reference) => attached.fetch(reference, signal)));
  const drives = attached.drives();
  const contents = await Promise.all(drives.map(({ file }) => readFile(join(directory, file), 'utf8')));
  expect(contents.toSorted()).toEqual(['of-a', 'of-b']);
  expect(drives.map(({ serial }) => serial).toSorted()).toEqual(['image0', 'image1']);
});

test('gives the VM no image whose file could not be had, and tries it again when it is asked for', async () => {
  await writeFile(join(directory, 'of-b'), 'of-b');
  const attached = images();
  const fetched = await Promise.allSettled(
    ['a', 'b', 'a:latest'].map((reference) => attached.fetch(reference, signal)),
  );
  expect(fetched.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
  expect(attached.drives()).toHaveLength(1);
  await writeFile(join(directory, 'of-a'), 'of-a');
  await attached.fetch('a', signal);
  expect((await readdir(directory)).filter((name) => name.startsWith('late'))).toHaveLength(1);
});
