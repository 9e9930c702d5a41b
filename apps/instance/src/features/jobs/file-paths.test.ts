import { describe, expect, test } from 'vitest';
import { checkTogether, FilePathError, normalizeFilePath } from './file-paths.ts';

describe('normalizeFilePath', () => {
  test.each([
    ['a.txt', 'a.txt'],
    ['./a/./b.txt', 'a/b.txt'],
    ['dir with spaces/ä/日本語/🙂', 'dir with spaces/ä/日本語/🙂'],
    ['.gitignore', '.gitignore'],
    ['.github/workflows/x.yml', '.github/workflows/x.yml'],
    ['sub/.sourcegraph-executor/x', 'sub/.sourcegraph-executor/x'],
    ['...', '...'],
    ['back\\slash', 'back\\slash'],
    ['-rf', '-rf'],
    ['a\nb', 'a\nb'],
  ])('%j', (path, normalized) => {
    expect(normalizeFilePath(path)).toBe(normalized);
  });

  test.each([
    ['/etc/passwd', 'must be relative'],
    ['//x', 'must be relative'],
    ['../x', 'must not leave the workspace'],
    ['a/../../x', 'must not leave the workspace'],
    ['a/..', 'must not leave the workspace'],
    ['', 'empty component'],
    ['a//b', 'empty component'],
    ['a/', 'empty component'],
    ['.', 'names a directory'],
    ['./.', 'names a directory'],
    ['a\0b', 'cannot hold this character'],
    ['a\ud800', 'cannot hold this character'],
    ['.git/hooks/post-checkout', 'private path in `files` refused'],
    ['./.git/config', 'private path in `files` refused'],
    ['.GIT/config', 'private path in `files` refused'],
    ['vendor/x/.git/config', 'private path in `files` refused'],
    ['.git', 'private path in `files` refused'],
    ['.sourcegraph-executor/1.0_x@y.sh', 'private path in `files` refused'],
    ['./.Sourcegraph-Executor', 'private path in `files` refused'],
    ['ä'.repeat(128), 'is longer than'],
    [`${'a/'.repeat(2048)}b`, 'is longer than'],
  ])('refuses %j: %s', (path, why) => {
    expect(() => normalizeFilePath(path)).toThrow(FilePathError);
    expect(() => normalizeFilePath(path)).toThrow(why);
  });
});

describe('checkTogether', () => {
  test('refuses a path given twice, and a file that is a directory of another', () => {
    expect(() => checkTogether(['a', 'b/c', 'b/d'])).not.toThrow();
    expect(() => checkTogether(['a', 'a'])).toThrow('given twice');
    expect(() => checkTogether(['a/b/c', 'a/b'])).toThrow('is both a file and the directory of "a/b/c"');
  });
});
