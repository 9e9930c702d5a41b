import { describe, expect, it } from 'vitest';
import { checkRepositoryName } from './repository-name.ts';
import { checkRevision, isCommitId } from './revision.ts';

describe('repository names', () => {
  it.each([
    'github.com/acme/widgets',
    'a',
    'a.b',
    'x..y',
    '.github',
    'ü/ñ',
    'x'.repeat(512),
    "o'b $".slice(0, 3),
  ])('%j is taken', (name) => {
    expect(() => checkRepositoryName(name)).not.toThrow();
  });

  it.each([
    '',
    'x'.repeat(513),
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/../b',
    'a/./b',
    'a/..',
    'a b',
    ' a',
    'a\0b',
    'a\nb',
    'a\u202eb',
    'a\u200bb',
    'a\u00a0b',
    'a\ud800',
    'a\\b',
    'a?b',
    'a#b',
    'a%2e',
    '-a',
    'a.git',
    '.git',
    'a/.git',
  ])('%j is refused', (name) => {
    expect(() => checkRepositoryName(name)).toThrow(
      expect.objectContaining({ status: 400, code: 'invalid_repository_name' }),
    );
  });

  it('offers the name without .git', () => {
    expect(() => checkRepositoryName('a/b.git.git')).toThrow(expect.objectContaining({ hint: 'Use "a/b".' }));
  });
});

describe('revisions', () => {
  it.each([
    'main',
    'feature/a-b',
    'v1.0',
    'HEAD~3',
    'HEAD^2',
    'a^^',
    'ä',
    '@',
    'a@b',
    'a{b',
    'refs/heads/main',
  ])('%j is taken', (revision) => {
    expect(() => checkRevision(revision)).not.toThrow();
  });

  it.each([
    '',
    '-h',
    '--all',
    '--output=x',
    'a..b',
    'a...b',
    '^a',
    'a:b',
    ':/x',
    'a^{/x}',
    'a^{tree}',
    'a@{1}',
    '@{u}',
    'a b',
    'a\nb',
    'a\0b',
    'a*',
    'a?',
    'a[b',
    'a\\b',
    'a^@',
    'a^!',
    'x'.repeat(513),
  ])('%j is refused', (revision) => {
    expect(() => checkRevision(revision)).toThrow(
      expect.objectContaining({ status: 400, code: 'invalid_revision' }),
    );
  });

  it('are whole commit ids or not', () => {
    expect(isCommitId('0123456789abcdef0123456789ABCDEF01234567')).toBe(true);
    expect(isCommitId('0123456789abcdef0123456789abcdef0123456')).toBe(false);
    expect(isCommitId('g123456789abcdef0123456789abcdef01234567')).toBe(false);
  });
});
