import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeWorkspaceDirectory } from './directory.ts';
import { createFileInside, makeDirectoryInside, pathComponents, UnsafePathError } from './inside.ts';

let parent: string;
let root: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kiln-inside-'));
  root = join(parent, 'workspace');
  await mkdir(root);
});
afterEach(() => rm(parent, { recursive: true, force: true }));

test.each(['../x', 'a/../../x', '/etc/passwd', 'a\0b', 'a/..', `${'n'.repeat(256)}/x`])(
  'the path %j is refused',
  (path) => {
    expect(() => pathComponents(path)).toThrow(UnsafePathError);
  },
);

test('any path is refused or stays below the workspace', () => {
  const unit = fc.constantFrom('a', '.', '..', '/', '//', ' ', '\\', '\0', '-', '\u{1F600}');
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 12 }), (path) => {
      let names: string[];
      try {
        names = pathComponents(path);
      } catch (error) {
        expect(error).toBeInstanceOf(UnsafePathError);
        return;
      }
      expect(`${resolve(root, ...names)}${sep}`.startsWith(`${root}${sep}`)).toBe(true);
    }),
  );
});

test('links on the way are refused, a link in the place of the file is replaced', async () => {
  await mkdir(join(parent, 'outside'));
  await writeFile(join(parent, 'outside', 'victim'), 'untouched');
  await symlink(join(parent, 'outside'), join(root, 'link'));
  await symlink(join(parent, 'outside', 'victim'), join(root, 'file'));
  await expect(createFileInside(root, 'link/evil')).rejects.toThrow('"link" is a link');
  await expect(makeDirectoryInside(root, ['link', 'deep'])).rejects.toThrow(UnsafePathError);
  {
    await using handle = await createFileInside(root, 'file');
    await handle.writeFile('mine');
  }
  expect((await lstat(join(root, 'file'))).isSymbolicLink()).toBe(false);
  expect(await readFile(join(parent, 'outside', 'victim'), 'utf8')).toBe('untouched');
  expect(await readdir(join(parent, 'outside'))).toEqual(['victim']);
});

test('a directory, and a file on the way, are refused', async () => {
  await mkdir(join(root, 'dir'));
  await writeFile(join(root, 'plain'), '');
  await expect(createFileInside(root, 'dir')).rejects.toThrow('"dir" is a directory');
  await expect(createFileInside(root, 'plain/x')).rejects.toThrow('"plain" is no directory');
  await expect(createFileInside(root, '.')).rejects.toThrow('names the workspace itself');
});

test('a workspace is removed with closed directories and links, never what they lead to', async () => {
  await writeFile(join(parent, 'precious'), 'x');
  await symlink(parent, join(root, 'up'));
  await mkdir(join(root, 'closed', 'deep'), { recursive: true });
  await chmod(join(root, 'closed'), 0);
  await removeWorkspaceDirectory(root);
  expect(await readdir(parent)).toEqual(['precious']);
});
