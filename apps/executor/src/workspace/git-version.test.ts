import { expect, test } from 'vitest';
import { judgeGitVersion } from './git-version.ts';

test.each([
  ['git version 2.39.5', '2.39.5'],
  ['git version 2.39.3 (Apple Git-146)', '2.39.3'],
  ['git version 2.51.0.windows.1\n', '2.51.0'],
  ['git version 3.0.0-rc1', '3.0.0'],
])('%j is accepted', (printed, version) => {
  expect(judgeGitVersion(printed, false)).toEqual({ version });
});

test.each([
  ['git version 2.25.1', /too old; at least 2\.26/],
  ['git version 2.26.0', /known holes/],
  ['git version 2.34.1', /known holes.*CVE-2022-23521/],
  ['git version 2.39.0', /known holes/],
  ['something else', /cannot read a version in "something else"/],
])('%j is refused', (printed, message) => {
  expect(judgeGitVersion(printed, false).problem?.message).toMatch(message);
});

test('a distribution that mends without a new version can be trusted, but not one that is too old', () => {
  expect(judgeGitVersion('git version 2.34.1', true).problem).toBeUndefined();
  expect(judgeGitVersion('git version 2.25.1', true).problem).toBeDefined();
});
