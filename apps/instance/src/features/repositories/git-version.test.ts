import { expect, it } from 'vitest';
import type { Git } from './git-process.ts';
import { GitError } from './git-process.ts';
import { isSafeGitVersion, requireSafeGit } from './git-version.ts';

it.each([
  '2.39.4',
  '2.39.5',
  '2.40.2',
  '2.45.1',
  '2.46.0',
  '2.50',
  '3.0.0',
  '2.47.3.windows.1',
  '2.50.1 (Apple Git-155)',
])('git %s is safe', (version) => {
  expect(isSafeGitVersion(version)).toBe(true);
});

it.each(['2.39.3', '2.38.9', '2.40.1', '2.44.0', '2.45.0', '2.9.5', '1.9.1', '2.43', 'unknown', ''])(
  'git %s is not',
  (version) => {
    expect(isSafeGitVersion(version)).toBe(false);
  },
);

const printing = (text: string): Git => ({
  run: async () => text,
  start: () => expect.unreachable(),
});

it('says what to do about an old git, and about none', async () => {
  expect(await requireSafeGit(printing('git version 2.39.5\n'))).toBe('2.39.5');
  await expect(requireSafeGit(printing('git version 2.34.1\n'))).rejects.toMatchObject({
    status: 503,
    code: 'git_too_old',
    message: expect.stringContaining('2.34.1'),
  });
  const none: Git = {
    ...printing(''),
    run: async () => {
      throw new GitError('missing', null, 'git cannot be started: spawn git ENOENT');
    },
  };
  await expect(requireSafeGit(none)).rejects.toMatchObject({ status: 503, code: 'git_missing' });
});
